"""Profiles of tiny real models: counts against DeepSpeed's rules, every output, and runs that fail."""

import html.parser
import json
import pathlib
import subprocess

import numpy as np
import pytest
import tiny_models

BIN = pathlib.Path(__file__).resolve().parents[2] / "build" / "release" / "bin"
BATCH, TOKENS = 2, 7


@pytest.fixture(scope="module")
def bert(torch, compiled, tmp_path_factory):
    """The package of a tiny encoder and the model it was made from."""
    folder = tmp_path_factory.mktemp("bert")
    source = tiny_models.make_model("bert", folder)
    return compiled(folder), source


def test_the_largest_table_counts(bert):
    """Those of positions and token types are small, and each step reads the same rows of them."""
    package, source = bert
    described = json.loads((package / "profile.json").read_text())
    facts = [launch for program in described["programs"] for launch in program["launches"] if launch["table_size"] > 0]
    row = 4 * source.config.hidden_size
    assert {(launch["table_bytes_per_row"], launch["table_size"]) for launch in facts} == {(row, row * source.config.vocab_size)}


def deepspeed_counts(torch, source, positions):
    """MACs and FLOPs by the rules of DeepSpeed's profiler, counted on the modules of a model: those of its measured op table."""
    macs = flops = 0
    config = source.config
    for name, module in source.named_modules():
        if name.startswith("pooler"):
            continue
        if isinstance(module, torch.nn.Linear):
            macs += positions * module.in_features * module.out_features
            flops += 2 * positions * module.in_features * module.out_features
        elif isinstance(module, torch.nn.LayerNorm):
            flops += 5 * positions * module.normalized_shape[0]
    attention = 2 * BATCH * TOKENS * TOKENS * config.hidden_size * config.num_hidden_layers
    return macs + attention, flops + 2 * attention


def test_counts_are_those_of_deepspeed_in_its_mode(bert, torch):
    import ds_mlir

    package, source = bert
    made = ds_mlir.profile(ds_mlir.load(package), np.ones((BATCH, TOKENS), dtype=np.int32), repetitions=2)
    macs, flops = deepspeed_counts(torch, source, BATCH * TOKENS)
    compatible, exact = (made.data(counting=counting)["programs"][0] for counting in ("compatible", "exact"))
    assert (compatible["totals"]["macs"], compatible["totals"]["flops"]) == (macs, flops)
    assert exact["totals"]["macs"] == macs
    assert exact["totals"]["flops"] > flops
    parameters = sum(value.numel() for name, value in source.named_parameters() if not name.startswith("pooler"))
    assert exact["modules"]["parameters"] == parameters
    assert exact["steps"] == 2
    assert (exact["batch"], exact["tokens"]) == (BATCH, TOKENS)


def test_the_tree_adds_up(bert):
    import ds_mlir

    program = ds_mlir.profile(ds_mlir.load(bert[0]), [[1, 2, 3]], repetitions=1).data()["programs"][0]

    def check(module):
        children = module["children"]
        for key in ("macs", "flops"):
            assert sum(child[key] for child in children) <= module[key] + 1e-6
        assert sum(child["latency_ns"] for child in children) <= module["latency_ns"] + 1
        for child in children:
            check(child)

    check(program["modules"])
    parts = program["busy_ns"] + program["idle_ns"] + program["barrier_ns"] + program["outside_ns"]
    assert parts == pytest.approx(program["latency_ns"]["median"], rel=1e-3)
    assert {child["name"] for child in program["modules"]["children"]} >= {"embeddings", "encoder"}


class Parts(html.parser.HTMLParser):
    """The sections, scripts and outside references of a page."""

    def __init__(self):
        super().__init__()
        self.ids, self.data, self.references, self.inside = [], "", [], False

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.ids.append(attributes.get("id"))
        self.references += [value for name, value in attributes.items() if name in ("src", "href")]
        self.inside = attributes.get("id") == "profile-data"

    def handle_endtag(self, tag):
        self.inside = False

    def handle_data(self, data):
        if self.inside:
            self.data += data


def parse_page(text):
    parts = Parts()
    parts.feed(text)
    return parts, json.loads(parts.data)


def test_the_page_holds_everything(bert, tmp_path):
    import ds_mlir

    made = ds_mlir.profile(ds_mlir.load(bert[0]), [[1, 2, 3]])
    made.save(tmp_path / "p.html")
    parts, data = parse_page((tmp_path / "p.html").read_text())
    sections = {"summary", "timeline", "roofline", "modules", "kernels", "regions", "predictions", "findings"}
    assert sections <= set(parts.ids)
    assert parts.references == []
    program = data["programs"][0]
    assert program["timeline"]
    assert program["kernels"]
    assert program["findings"]
    assert len(program["launches"]) > 10


def test_generation_and_a_trace(tiny_llama, tmp_path):
    import ds_mlir

    model = ds_mlir.load(tiny_llama)
    made = ds_mlir.profile(model, [[1, 5, 9]], max_new_tokens=6, repetitions=2)
    programs = {program["program"]: program for program in made.data()["programs"]}
    assert set(programs) == {"prefill", "decode"}
    assert programs["decode"]["steps"] == 10
    made.save(tmp_path / "p.trace.json")
    events = json.loads((tmp_path / "p.trace.json").read_text())["traceEvents"]
    spans = [event for event in events if event["ph"] == "X"]
    assert {event["cat"] for event in spans} >= {"step", "gemm", "attention"}
    assert all(event["dur"] >= 0 for event in spans)
    text = made.report(depth=2, top=1)
    assert "depth 2:" in text
    assert "depth 3:" not in text
    assert "q_proj" not in text.split("Kernels")[0]


def test_a_run_that_fails_still_has_a_report(bert, tmp_path):
    import ds_mlir

    model = ds_mlir.load(bert[0])
    made = model.profile()
    with pytest.raises(ds_mlir.errors.InvalidArgument), made:
        model.hidden_states([[9999]])
    assert "the run failed: InvalidArgument: invalid argument: input_ids[0][0]" in str(made)
    text = "RuntimeError: half of \udc80 and what is behind \0"
    with pytest.raises(RuntimeError), model.profile() as made:
        raise RuntimeError(text.removeprefix("RuntimeError: "))
    assert made.data()["failure"] == text.replace("\udc80", "\\udc80").replace("\0", "\\x00")
    with model.profile() as other:
        model.hidden_states([[1, 2]])
    assert len(other.data()["programs"]) == 1
    with pytest.raises(ds_mlir.errors.InvalidArgument, match="profiled again"):
        made.report()
    with pytest.raises(ds_mlir.errors.InvalidArgument, match="a profile's file ends in"):
        other.save(tmp_path / "p.pdf")
    with pytest.raises(ds_mlir.errors.Missing):
        other.report(machine=tmp_path / "nowhere.json")


def run(*arguments):
    return subprocess.run([str(argument) for argument in arguments], capture_output=True, text=True)


def test_the_tools_profile(bert, tiny_llama, tmp_path):
    done = run(BIN / "ds-run", "--profile", bert[0], "--input", "input_ids=1x4xi32=3")
    assert done.returncode == 0, done.stderr
    assert "Detailed Profile" in done.stdout, done.stderr
    files = [tmp_path / name for name in ("a.html", "a.json", "a.trace.json", "a.txt")]
    reports = [f"--profile={file}" for file in files]
    done = run(BIN / "ds-bench", tiny_llama, "-p", 8, "-n", 4, "-r", 2, *reports, "--profile-counting", "compatible")
    assert done.returncode == 0, done.stderr
    assert json.loads(files[1].read_text())["counting"] == "compatible"
    assert parse_page(files[0].read_text())[1]["programs"][0]["steps"] >= 2
    done = run(BIN / "ds-run", bert[0], "--input", "input_ids=1x4xi32=9999", f"--profile={tmp_path}/b.html")
    assert done.returncode == 2
    data = parse_page((tmp_path / "b.html").read_text())[1]
    assert data["programs"] == []
    assert "expects an id in" in data["failure"]
    done = run(BIN / "ds-run", tmp_path / "nowhere", "--tokens", "1", f"--profile={tmp_path}/c.json")
    assert done.returncode == 66
    assert "nowhere" in json.loads((tmp_path / "c.json").read_text())["failure"]
    done = run(BIN / "ds-bench", bert[0], "-t", "1,2", "--profile")
    assert done.returncode == 2
    assert "one number of threads" in done.stderr
    for option in (("--profile-depth", "2"), ("--profile-top", "2"), ("--profile-counting", "exact"), ("--profile-machine", "m.json")):
        done = run(BIN / "ds-bench", bert[0], *option)
        assert (done.returncode, f"{option[0]} requires --profile" in done.stderr) == (2, True), done.stderr


def test_what_cannot_be_written_is_noticed_before_the_run(bert, tmp_path):
    output, good = tmp_path / "y.npy", tmp_path / "p.json"
    command = (BIN / "ds-run", bert[0], "--input", "input_ids=1x4xi32=3", "--output", f"hidden=@{output}", f"--profile={good}")
    for arguments, status in (
        ([f"--profile={tmp_path}/nowhere/x.html"], 73),
        (["--profile=x.xyz"], 2),
        (["--profile-machine", tmp_path / "none.json"], 66),
    ):
        done = run(*command, *arguments)
        assert done.returncode == status, done.stderr
        assert not output.exists()
        if status != 66:  # which machine it is belongs to every report
            assert json.loads(good.read_text())["failure"] in done.stderr
    assert run(*command).returncode == 0
    assert output.exists()
    assert not json.loads(good.read_text()).get("failure")


def test_ops_of_a_kernel_name_all_modules(bert, tmp_path):
    done = run(BIN / "ds-run", bert[0], "--input", "input_ids=1x4xi32=3", "--profile")
    assert "layer_norm in embeddings.LayerNorm, encoder.layer.*" in done.stdout, done.stdout


def test_a_machine_is_taken_and_another_is_noticed(bert, tmp_path):
    machine = tmp_path / "machine.json"
    done = run(BIN / "ds-bench", "--calibrate", "--quick", "-o", machine)
    assert done.returncode == 0, done.stderr
    arguments = (BIN / "ds-run", bert[0], "--input", "input_ids=1x4xi32=3", "--profile", "--profile-machine", machine)
    done = run(*arguments)
    assert "of roofline" in done.stdout, done.stderr
    assert "predicted/measured" in done.stdout, done.stderr
    assert "another machine" not in done.stdout, done.stderr
    description = json.loads(machine.read_text())
    machine.write_text(json.dumps({**description, "processor": "Z80"}))
    assert "is of another machine, 'Z80'" in run(*arguments).stdout
