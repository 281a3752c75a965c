"""Learning rates, loss scale and layer dropping, held to numbers that upstream's classes gave."""

import math
import types

import numpy as np
import pytest
from ds_mlir import errors
from ds_mlir.training import DynamicLossScale, LayerDrop, StaticLossScale
from ds_mlir.training.layer_drop import expected_depth, keep_probabilities, theta_at
from ds_mlir.training.schedules import SCHEDULES, make_schedule

STEPS = (0, 1, 4, 8, 9, 10, 15, 29, 30, 39)  # of 40, counted from 0
WARM = {"warmup_max_lr": 0.001, "warmup_num_steps": 10}
TRACES = [
    ("WarmupLR", {"warmup_min_lr": 0.0, **WARM}, 0.0,
     [0.0, 0.00030102999566398113, 0.0006989700043360187, 0.0009542425094393248, 0.0009999999999999998, 0.001, 0.001, 0.001, 0.001, 0.001]),
    ("WarmupLR", {"warmup_min_lr": 1e-05, "warmup_max_lr": 0.01, "warmup_num_steps": 10, "warmup_type": "linear"}, 1e-05,
     [1e-05, 0.0010090000000000001, 0.004006, 0.008002, 0.009001, 0.01, 0.01, 0.01, 0.01, 0.01]),
    ("WarmupDecayLR", {"total_num_steps": 30, **WARM}, 0.0,
     [0.0, 0.00030102999566398113, 0.0006989700043360187, 0.0009542425094393248, 0.0009999999999999998, 0.001, 0.00075, 5e-05, 0.0, 0.0]),
    ("WarmupDecayLR",
     {"total_num_steps": 30, "warmup_min_lr": 0.0001, "warmup_max_lr": 0.001, "warmup_num_steps": 5, "warmup_type": "linear"}, 0.0001,
     [0.0001, 0.00028, 0.00082, 0.000892, 0.000856, 0.00082, 0.00064, 0.000136, 0.0001, 0.0001]),
    ("WarmupCosineLR", {"total_num_steps": 30, "warmup_num_steps": 10}, 0.0,
     [0.0, 0.030102999566398114, 0.06989700043360186, 0.09542425094393248, 0.09999999999999999, 0.09938447858805392, 0.0793913236883622,
      1e-05, 1e-05, 1e-05]),
]  # fmt: skip


def optimizer(groups=1, betas=True):
    one = {"lr": 0.1} | ({"betas": (0.9, 0.999)} if betas else {})
    return types.SimpleNamespace(param_groups=[dict(one) for _ in range(groups)])


def rates(schedule, count):
    found = []
    for _ in range(count):
        schedule.step()
        found.append(schedule.optimizer.param_groups[0]["lr"])
    return found


@pytest.mark.parametrize(("name", "arguments", "first", "expected"), TRACES)
def test_rates_of_upstream(name, arguments, first, expected):
    schedule = make_schedule(name, optimizer(2), arguments)
    assert [group["lr"] for group in schedule.optimizer.param_groups] == [first, first]
    found = rates(schedule, 40)
    assert np.abs(np.array(found)[list(STEPS)] - expected).max() <= 1e-12
    assert schedule.get_last_lr() == schedule.get_lr() == [found[-1]] * 2


def test_a_warm_up_of_one_step_takes_two():
    found = rates(make_schedule("WarmupLR", optimizer(), {"warmup_max_lr": 1.0, "warmup_num_steps": 1}), 4)
    assert found == [0.0, 1.0, 1.0, 1.0]  # ln 1 / ln 2, ln 2 / ln 2


def test_cosine_starts_at_its_least_ratio_and_scales_each_group():
    two = optimizer(2)
    two.param_groups[1]["lr"] = 0.2
    schedule = make_schedule(
        "WarmupCosineLR", two, {"total_num_steps": 8, "warmup_num_steps": 4, "warmup_min_ratio": 0.5, "cos_min_ratio": 0.1}
    )
    schedule.step()
    assert [group["lr"] for group in two.param_groups] == [0.05, 0.1]
    for _ in range(4):
        schedule.step()
    assert two.param_groups[0]["lr"] == pytest.approx(0.1 * (0.1 + 0.9 * (1 + math.cos(math.pi / 4)) / 2), rel=1e-12)


@pytest.mark.parametrize(("staircase", "expected"), [(False, [0.02, 0.03, 0.04, 0.05]), (True, [0.01, 0.03, 0.03, 0.05])])
def test_range_test(staircase, expected):
    names = {"min_lr": 0.01, "step_size": 2, "step_rate": 2.0, "staircase": staircase}
    schedule = make_schedule("LRRangeTest", optimizer(), {f"lr_range_test_{key}": value for key, value in names.items()})
    assert schedule.get_last_lr() == [0.01]
    assert rates(schedule, 4) == pytest.approx(expected, rel=1e-12)


def test_one_cycle_moves_rate_and_momentum_against_each_other():
    one = optimizer()
    cycle = {"cycle_min_lr": 0.1, "cycle_max_lr": 0.5, "cycle_first_step_size": 2, "cycle_second_step_size": 4}
    schedule = make_schedule("OneCycle", one, {**cycle, "decay_step_size": 2, "decay_lr_rate": 1.0, "decay_mom_rate": 0.5})
    assert one.param_groups[0] == {"lr": 0.1, "betas": (0.8, 0.99)}
    found = []
    for _ in range(8):
        schedule.step()
        found.append((one.param_groups[0]["lr"], one.param_groups[0]["betas"][0]))
    # Up in 2, down in 4 (k + 1 counts), then 0.1 / (1 + n / 2) and 0.9 * (1 + 0.5 * n / 2).
    expected = [(0.3, 0.85), (0.5, 0.8), (0.4, 0.825), (0.3, 0.85), (0.2, 0.875), (0.1, 0.9), (0.1 / 1.5, 1.125), (0.05, 1.35)]
    assert np.allclose(found, expected, rtol=1e-12)
    without = optimizer(betas=False)
    make_schedule("OneCycle", without, cycle).step()
    assert "betas" not in without.param_groups[0]


@pytest.mark.parametrize("name", sorted(SCHEDULES))
def test_schedules_go_on_from_a_state(name):
    arguments = {
        "WarmupDecayLR": {"total_num_steps": 30},
        "WarmupCosineLR": {"total_num_steps": 30, "warmup_num_steps": 5},
        "OneCycle": {"cycle_min_lr": 0.1, "cycle_max_lr": 0.3, "cycle_first_step_size": 7},
    }.get(name, {})
    whole = rates(make_schedule(name, optimizer(), arguments), 30)
    first = make_schedule(name, optimizer(), arguments)
    rates(first, 11)
    second = make_schedule(name, optimizer(), arguments)
    second.optimizer.param_groups[0]["lr"] = first.optimizer.param_groups[0]["lr"]
    second.load_state_dict(first.state_dict())
    assert second.get_last_lr() == first.get_last_lr()
    assert rates(second, 19) == whole[11:]
    with pytest.raises(errors.BadData, match=f"expects .* of {name}"):
        second.load_state_dict({"other": 1})


# (initial, window, hysteresis, consecutive), the steps of 30 that overflow, then scale and hysteresis left after 10, 20 and 30.
SCALES = [
    ((256.0, 4, 2, True), (), (1024.0, 2), (4096.0, 2), (32768.0, 2)),
    ((256.0, 8, 2, False), (), (512.0, 2), (1024.0, 2), (2048.0, 2)),
    ((256.0, 4, 1, False), (3,), (256.0, 1), (1024.0, 1), (8192.0, 1)),
    ((256.0, 4, 1, True), (3,), (256.0, 1), (1024.0, 1), (8192.0, 1)),
]


@pytest.mark.parametrize(("arguments", "overflows", "ten", "twenty", "thirty"), SCALES)
def test_loss_scale_of_upstream(arguments, overflows, ten, twenty, thirty):
    scaler = DynamicLossScale(*arguments)
    found = []
    for step in range(30):
        scaler.update(step in overflows)
        found.append((scaler.scale, scaler.left))
    assert [found[9], found[19], found[29]] == [ten, twenty, thirty]


def test_hysteresis_and_the_least_scale():
    scaler = DynamicLossScale(4.0, window=2, hysteresis=3, minimum=1.0)
    scales = []
    for _ in range(7):
        scaler.update(True)
        scales.append((scaler.scale, scaler.left))
    assert scales == [(4, 2), (4, 1), (2, 1), (1, 1), (1, 1), (1, 1), (1, 1)]
    for _ in range(3):
        scaler.update(False)
    assert (scaler.scale, scaler.left) == (2.0, 3)
    strict = DynamicLossScale(1.0, hysteresis=1, raise_at_minimum=True)
    with pytest.raises(errors.InvalidArgument, match="overflow at the least scale, 1"):
        strict.update(True)


def test_loss_scale_goes_on_from_a_state():
    first, second = DynamicLossScale(64.0, window=3), DynamicLossScale(1.0, window=3)
    for step in range(8):
        first.update(step == 4)
    second.load_state_dict(first.state_dict())
    for _ in range(5):
        first.update(False)
        second.update(False)
    assert first.state_dict() == second.state_dict()
    static = StaticLossScale(8.0)
    static.update(True)
    assert static.state_dict() == {"scale": 8.0}


@pytest.mark.parametrize(
    ("theta", "gamma", "expected"),
    [
        (0.1, 0.01, {0: 1.0, 1: 0.9910448503742512, 10: 0.9143536762323635, 1000: 0.10004085993678624, 100000: 0.1}),
        (0.5, 0.1, {0: 1.0, 1: 0.9524187090179798, 10: 0.6839397205857212, 1000: 0.5}),
        (1.0, 0.1, {0: 1.0, 10: 1.0}),
    ],
)
def test_theta_of_upstream(theta, gamma, expected):
    drop = LayerDrop(theta, gamma)
    assert drop.get_theta() == 1.0
    for step, value in expected.items():
        drop.update_state(step)
        assert drop.get_state() == {"progressive_layer_drop": True, "pld_theta": pytest.approx(value, rel=1e-12)}
        assert drop.get_theta() == theta_at(step, theta, gamma)


def test_keep_probabilities_of_upstream():
    table = [0.9166666666666666, 0.8333333333333334, 0.75, 0.6666666666666667, 0.5833333333333333, 0.5]
    assert np.abs(keep_probabilities(6, 0.5) - table).max() <= 1e-12
    assert expected_depth(6, 0.5) == pytest.approx(4.25, rel=1e-12)
    assert expected_depth(12, 0.75) == pytest.approx(10.375, rel=1e-12)


def test_gates_are_unbiased_and_depend_on_seed_and_step_alone():
    drop = LayerDrop(0.5, 10.0, seed=3)
    drop.update_state(100)
    draws = np.array([drop.draw(6, step, micro)[0] for step in range(2000) for micro in range(2)])
    keep = keep_probabilities(6, 0.5)
    assert np.abs(draws.mean(axis=0) - keep).max() < 4 * math.sqrt(0.25 / len(draws))
    assert np.abs(np.corrcoef(draws[:, 3:].T) - np.eye(3)).max() < 0.06  # layers are independent
    assert np.array_equal(drop.draw(6, 0)[1], (1 / keep).astype(np.float32))
    again = LayerDrop(0.5, 10.0, seed=3)
    again.update_state(100)
    assert np.array_equal(again.draw(6, 1234, 1)[0], draws[2 * 1234 + 1])
    other = LayerDrop(0.5, 10.0, seed=4)
    other.update_state(100)
    assert not np.array_equal(np.array([other.draw(6, step)[0] for step in range(50)]), draws[:100:2])
    assert drop.draw(6, 5)[0].dtype == np.int32


def test_theta_of_one_drops_nothing():
    assert LayerDrop(1.0, 0.5).draw(24, 7)[0].all()
