"""The engine over compiled packages: three updates against torch, layers that are off, resuming, and the way back to inference."""

import json
import warnings

import ds_mlir
import numpy as np
import pytest
from ds_mlir.__main__ import main
from ds_mlir.training.dropout import draw_seed
from ds_mlir.training.model_config import model_config
from test_train_data import word_tokenizer

SIZES = {"layers": 2, "hidden_size": 32, "heads": 4, "vocab_size": 60, "max_positions": 24, "dropout": 0.0}
KINDS = [
    ("gpt2", "causal-lm", "AutoModelForCausalLM"),
    ("bert", "masked-lm", "AutoModelForMaskedLM"),
    ("bert", "sequence-classification", "AutoModelForSequenceClassification"),
]


def micro_batches(kind, task, count, seed=0):
    random = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        ids, mask = random.integers(1, 60, (3, 12)), np.ones((3, 12), int)
        if kind == "bert":
            mask[1, 7:] = 0
            ids = np.where(mask, ids, 0)
        labels = np.where((random.random(ids.shape) < 0.4) & (mask > 0), ids, -100)
        labels[:, 2] = ids[:, 2]
        made.append({"input_ids": ids, "attention_mask": mask, "labels": random.integers(0, 2, 3) if task == KINDS[2][1] else labels})
    return made


def settings(task, **changes):
    # Gradients of key biases are 0 but for rounding; a greater eps keeps Adam from making steps of it.
    optimizer = {"type": "AdamW", "params": {"lr": 1e-3, "weight_decay": 0.01, "eps": 1e-5}}
    base = {"train_micro_batch_size_per_gpu": 3, "gradient_accumulation_steps": 2, "gradient_clipping": 1.0, "optimizer": optimizer}
    return {**base, "steps_per_print": 1000000, "ds_mlir": {"task": task, "threads": 2}, **changes}


@pytest.mark.parametrize(("kind", "task", "name"), KINDS)
def test_three_updates_are_those_of_torch(kind, task, name, tmp_path):
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.AutoConfig.for_model(**model_config(kind, task=task, **SIZES))
    model = getattr(transformers, name).from_config(config, attn_implementation="eager").eval()
    groups = [
        {"params": [p for n, p in model.named_parameters() if p.ndim > 1]},
        {"params": [p for n, p in model.named_parameters() if p.ndim == 1], "weight_decay": 0.0},
    ]
    engine, *_ = ds_mlir.initialize(model=model, model_parameters=groups, config=settings(task))
    optimizer = torch.optim.AdamW(groups, lr=1e-3, weight_decay=0.01, eps=1e-5)
    data = micro_batches(kind, task, 6)
    for step in range(3):
        losses = []
        for batch in data[2 * step : 2 * step + 2]:
            loss = model(**{key: torch.tensor(value) for key, value in batch.items()}).loss
            (loss / 2).backward()
            losses.append(loss.item())
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        assert engine.train_batch(iter(data[2 * step : 2 * step + 2])) == pytest.approx(np.mean(losses), rel=1e-5)
        assert engine.get_global_grad_norm() == pytest.approx(norm.item(), rel=1e-4)
    # Moments as torch has them, which computes 1 - beta in double; gradients are those of f32.
    parameters, compared = dict(model.named_parameters()), 0
    for tensor in engine.backend.tensors:
        if tensor.view is None and tensor.source in parameters and tensor.source.endswith("weight"):
            expected = optimizer.state[parameters[tensor.source]]["exp_avg_sq"].numpy()
            found = engine.backend.view("moment2", tensor.name)
            assert np.linalg.norm(found - expected) < 4e-6 * np.linalg.norm(expected), tensor.name
            compared += 1
    assert compared > 4
    loaded = getattr(transformers, name).from_pretrained(engine.export(tmp_path / "model"))
    for (key, expected), (_, found) in zip(model.state_dict().items(), loaded.state_dict().items(), strict=True):
        assert (expected - found).abs().max() < 1e-5, key


@pytest.mark.parametrize(("kind", "task"), [("gpt2", "causal-lm"), ("bert", "masked-lm")])
def test_layers_that_are_off_and_resuming(kind, task, tmp_path):
    """A layer that no micro batch ran stays as it is, and a resumed run is bit-equal."""
    model = model_config(kind, task=task, **{**SIZES, "layers": 3})
    config = settings(task, progressive_layer_drop={"enabled": True, "theta": 0.3, "gamma": 4.0}, seed=2)
    engine, *_ = ds_mlir.initialize(model=model, config=config)
    assert {tensor.layer for tensor in engine.backend.tensors} == {-1, 0, 1, 2}
    data, off = micro_batches(kind, task, 24), 0
    for step in range(12):
        if step == 6:
            engine.save_checkpoint(tmp_path)
        before = {tensor.name: engine.backend.view("parameter", tensor.name).copy() for tensor in engine.backend.tensors}
        counts = engine.optimizer.steps.copy()
        engine.train_batch(iter(data[2 * step : 2 * step + 2]))
        for index, tensor in enumerate(engine.backend.tensors):
            stayed = np.array_equal(before[tensor.name], engine.backend.view("parameter", tensor.name))
            assert stayed == (engine.optimizer.steps[index] == counts[index]), tensor.name
            off += stayed
    assert off > 0
    resumed, *_ = ds_mlir.initialize(model=model, config={**config, "seed": 2})
    resumed.load_checkpoint(tmp_path)
    for step in range(6, 12):
        resumed.train_batch(iter(data[2 * step : 2 * step + 2]))
    for tensor in engine.backend.tensors:
        for part in ("parameter", "moment1", "moment2"):
            assert np.array_equal(engine.backend.view(part, tensor.name), resumed.backend.view(part, tensor.name)), tensor.name


def test_an_update_of_lamb_by_its_formula():
    optimizer = {"type": "Lamb", "params": {"lr": 0.01, "weight_decay": 0.01, "bias_correction": False, "max_coeff": 0.3}}
    changes = {"gradient_accumulation_steps": 1, "gradient_clipping": 0.0, "optimizer": optimizer}
    engine, *_ = ds_mlir.initialize(model=model_config("gpt2", **SIZES), config=settings("causal-lm", **changes))
    view, tensors = engine.backend.view, engine.backend.tensors
    engine.backward(engine(micro_batches("gpt2", "causal-lm", 1)[0]))
    p, g = ({tensor.name: view(part, tensor.name).astype(np.float64) for tensor in tensors} for part in ("parameter", "gradient"))
    engine.step()
    assert engine.get_global_grad_norm() == pytest.approx(np.sqrt(sum(np.square(value).sum() for value in g.values())), rel=1e-5)
    for tensor, coefficient in zip(tensors, engine.get_lamb_coeffs(), strict=True):
        value, gradient = p[tensor.name], g[tensor.name]
        u = 0.1 * gradient / (np.sqrt(0.001 * gradient**2) + 1e-8) + 0.01 * value
        norms = np.linalg.norm(value), np.linalg.norm(u)
        expected = np.clip(norms[0] / norms[1], 0.01, 0.3) if all(norms) else 1.0
        assert coefficient == pytest.approx(expected, rel=1e-4), tensor.name
        assert np.abs(view("parameter", tensor.name) - (value - 0.01 * expected * u)).max() < 1e-6, tensor.name
        assert not view("gradient", tensor.name).any()


def test_ds_train_and_inference_of_what_it_made(tmp_path):
    word_tokenizer(tmp_path / "words", [f"w{i}" for i in range(55)])
    random = np.random.default_rng(0)
    lines = [" ".join(f"w{i}" for i in (start + np.arange(20)) % 6) for start in random.integers(0, 6, 60)]
    (tmp_path / "text.txt").write_text("\n".join(lines))
    recipe = {
        **settings("masked-lm", gradient_accumulation_steps=1, optimizer={"type": "AdamW", "params": {"lr": 0.01}}),
        "model": model_config("bert", **SIZES),
        "task": "masked-lm",
        "data": {"files": ["text.txt"], "tokenizer": "words", "sequence_length": 16, "validation": 0.1},
        "output": "out",
        "steps": 25,
        "scheduler": {"type": "WarmupLR", "params": {"warmup_max_lr": 0.01, "warmup_num_steps": 5}},
    }
    (tmp_path / "ds.json").write_text(json.dumps(recipe))
    assert main(["train", str(tmp_path / "ds.json"), "--progress=off"]) == 0
    rows = [json.loads(line) for line in (tmp_path / "out" / "log.jsonl").read_text().splitlines()]
    assert np.mean([row["loss"] for row in rows[20:25]]) < rows[0]["loss"] - 0.5
    assert main(["train", str(tmp_path / "ds.json"), "--resume", "--steps=26", "--progress=off"]) == 0
    package = ds_mlir.compile(tmp_path / "out" / "model", tmp_path / "package", target_cpu="native")
    ids = random.integers(5, 60, (1, 16))
    engine, *_ = ds_mlir.initialize(model=tmp_path / "out" / "model", config=settings("masked-lm"))
    expected = engine.eval_batch({"input_ids": ids, "labels": ids}).logits
    assert np.abs(ds_mlir.load(package).logits(ids)[0] - expected).max() < 1e-4


def philox(counter, key):
    """Philox4x32-10 in NumPy: counter [N, 4] and key [2] uint32; returns words [N, 4]."""
    c, k = [counter[:, i].astype(np.uint64) for i in range(4)], [np.uint64(one) for one in key]
    low, half = np.uint64(0xFFFFFFFF), np.uint64(32)
    for _ in range(10):
        first, second = c[0] * np.uint64(0xD2511F53), c[2] * np.uint64(0xCD9E8D57)
        c = [(second >> half) ^ c[1] ^ k[0], second & low, (first >> half) ^ c[3] ^ k[1], first & low]
        k = [(k[0] + np.uint64(0x9E3779B9)) & low, (k[1] + np.uint64(0xBB67AE85)) & low]
    return np.stack(c, axis=1)


class OurDropout:
    """torch.nn.functional.dropout with the masks of ds.dropout, and for attention's weights of ds.attention. Sites are counted in the order
    of the forward; `seed_of_forward` gives its seed."""

    def __init__(self, seed_of_forward):
        self.seed_of_forward, self.site = seed_of_forward, 0

    def __call__(self, x, p=0.5, training=True, inplace=False):
        if not training or p == 0:
            return x
        words = self._words_of_weights(x.shape) if x.ndim == 4 else self._words(x.shape)
        self.site += 1
        return x * x.new_tensor((words >= p * 2.0**32) / (1 - p))

    def _philox(self, *counter):
        counter = [np.asarray(word, np.uint64) for word in np.broadcast_arrays(*counter)]
        return philox(np.stack([word.reshape(-1) for word in counter], axis=1), self.seed_of_forward().view(np.uint32))

    def _words(self, shape):
        count = int(np.prod(shape))
        return self._philox(np.arange((count + 3) // 4), 0, self.site, 0).reshape(-1)[:count].reshape(shape)

    def _words_of_weights(self, shape):
        batch, heads, tokens, keys = shape
        head, token, key = np.meshgrid(*map(np.arange, (batch * heads, (tokens + 3) // 4, keys)), indexing="ij")
        words = self._philox(token, key, self.site, head).reshape(batch, heads, -1, keys, 4)
        return words.swapaxes(3, 4).reshape(batch, heads, -1, keys)[:, :, :tokens]


@pytest.mark.parametrize(("kind", "task", "name"), KINDS)
@pytest.mark.parametrize(("hidden", "heads"), [(32, 4), (33, 3)])
def test_updates_with_dropout_are_those_of_torch_with_our_masks(kind, task, name, hidden, heads, monkeypatch):
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    torch.manual_seed(0)
    sizes = {**SIZES, "hidden_size": hidden, "heads": heads, "dropout": 0.2}
    values = model_config(kind, task=task, **sizes, **({"pre_layer_norm": False} if task == KINDS[1][1] else {}))
    values |= {"attn_pdrop": 0.3} if kind == "gpt2" else {"attention_probs_dropout_prob": 0.3, "classifier_dropout": 0.4}
    config = transformers.AutoConfig.for_model(**values)
    model = getattr(transformers, name).from_config(config, attn_implementation="eager").train()
    changes = settings(task, seed=9, ds_mlir={"task": task, "threads": 2, "recompute": 1})
    changes["optimizer"]["params"]["weight_decay"] = 0.0
    engine, *_ = ds_mlir.initialize(model=model, config=changes)
    assert engine.backend.dropout
    place = [0, 0]
    dropout = OurDropout(lambda: draw_seed(9, *place))
    monkeypatch.setattr(torch.nn.functional, "dropout", dropout)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.0, eps=1e-5)
    data = micro_batches(kind, task, 6)
    for step in range(3):
        losses = []
        for micro, batch in enumerate(data[2 * step : 2 * step + 2]):
            place[:], dropout.site = (step, micro), 0
            loss = model(**{key: torch.tensor(value) for key, value in batch.items()}).loss
            (loss / 2).backward()
            losses.append(loss.item())
        assert dropout.site >= 7
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        assert engine.train_batch(iter(data[2 * step : 2 * step + 2])) == pytest.approx(np.mean(losses), rel=1e-5)
        assert engine.get_global_grad_norm() == pytest.approx(norm.item(), rel=1e-4)
    losses = [engine.eval_batch(data[0]) for _ in range(2)]
    expected = model.eval()(**{key: torch.tensor(value) for key, value in data[0].items()}).loss.item()
    assert losses == [pytest.approx(expected, rel=1e-5)] * 2


def test_dropout_follows_the_seed_and_is_resumed(tmp_path):
    """Equal seeds give equal bits, also of a resumed run and with layers that are off; others give others; a rate may be given by hand."""
    data, drops = micro_batches("gpt2", "causal-lm", 12), {"enabled": True, "theta": 0.5, "gamma": 1.0}
    engine, *_ = ds_mlir.initialize(model=model_config("gpt2", **SIZES), config=settings("causal-lm"))
    assert not engine.backend.dropout
    start = engine.export(tmp_path / "start")  # the same first values for every seed

    def train(seed, dropout, first=0, save=False):
        own = {"task": "causal-lm", "threads": 2, "dropout": dropout}
        config = settings("causal-lm", seed=seed, progressive_layer_drop=drops, ds_mlir=own)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            engine, *_ = ds_mlir.initialize(model=start, config=config)
        if first:
            engine.load_checkpoint(tmp_path / "checkpoints")
        for step in range(first, 6):
            if save and step == 3:
                engine.save_checkpoint(tmp_path / "checkpoints")
            engine.train_batch(iter(data[2 * step : 2 * step + 2]))
        return np.concatenate([engine.backend.view("parameter", tensor.name).reshape(-1) for tensor in engine.backend.tensors])

    whole = train(1, 0.3, save=True)
    assert np.array_equal(whole, train(1, 0.3))
    assert np.array_equal(whole, train(1, 0.3, first=3))
    assert not np.array_equal(whole, train(2, 0.3))
    without = train(1, "config")
    assert not np.array_equal(whole, without)
    assert np.array_equal(without, train(1, 0))
