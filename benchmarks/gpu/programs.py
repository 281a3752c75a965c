"""A program of a package on the device, launch by launch: what the runtime does without the runtime, to time launches alone."""

import torch

from . import device, launches, weights
from .package import Inconsistent

SMALL = 16  # addresses are aligned to 256 by the allocator; sizes get room for rounding


class Loaded:
    """A package on the device: its weights and its kernels.
    Args: data, the data part of its weights, uint8; None: random ones, or the file's.
    """

    def __init__(self, package, data=None):
        self.package = package
        self.module, self.arch = device.load(package)
        if data is None:
            data = weights.random_data(package, device.NAME) if package.is_random else weights.read_data(package, device.NAME)
        self.data = data


class Program:
    """One program at one step: `batch` sequences of `tokens`, each with `past` tokens before.
    Args: outputs, names of those that are wanted.
    """

    def __init__(self, loaded, name, batch, tokens, past=0, outputs=("logits",)):
        self.loaded, package = loaded, loaded.package
        self.name, self.record, self.manifest = name, package.launches(name), package.program(name)
        if batch > self.manifest["max_batch"] or batch * tokens > self.manifest["max_rows"]:
            limits = f"max_batch {self.manifest['max_batch']}, max_rows {self.manifest['max_rows']}"
            raise Inconsistent(f"{package.name}: {name} of {batch} x {tokens} tokens, but {limits}")
        self.batch, self.tokens, self.past = batch, tokens, past
        self.sizes = launches.step_sizes(batch, tokens, batch)
        self.inputs = [self.input(place["name"]) for place in self.manifest["inputs"]]
        self.outputs = {}
        for place in self.manifest["outputs"]:
            if place["name"] in outputs:
                rows = {"batch": batch, "rows": batch}[place["shape"][0]] * (tokens if "tokens" in place["shape"] else 1)
                self.outputs[place["name"]] = torch.zeros(rows, place["shape"][-1], device=device.NAME)
        missing = set(outputs) - set(self.outputs)
        if missing:
            raise Inconsistent(f"{package.name}: {name} has no output {', '.join(sorted(missing))}")
        self.arena = torch.randn(self.record["arena_bytes"] // 4 + SMALL, device=device.NAME)
        self.counters = torch.zeros(self.record["counters_bytes"] // 4 + SMALL, dtype=torch.int32, device=device.NAME)
        self.kv, addresses = None, torch.zeros(max(1, batch), dtype=torch.int64)
        if "cache" in package.manifest:
            cache = package.manifest["cache"]
            # Codes are any bytes, behind scales of f32.
            dtype, width = (torch.bfloat16, 2) if cache.get("type") == "bf16" else (torch.float32, 4)
            self.kv = torch.randn(batch, cache["bytes_per_sequence"] // width, device=device.NAME, dtype=dtype) * 0.5
            addresses = torch.tensor([block.data_ptr() for block in self.kv])
        self.addresses = addresses.to(device.NAME)
        self.memory = launches.Memory(
            arena=self.arena.data_ptr(),
            weights=loaded.data.data_ptr(),
            counters=self.counters.data_ptr(),
            kv=self.addresses.data_ptr(),
            inputs=tuple(array.data_ptr() for array in self.inputs),
            outputs=tuple(self.address_of(place["name"]) for place in self.manifest["outputs"]),
        )

    def address_of(self, output):
        """Where an output goes; 0 when it is not wanted."""
        return self.outputs[output].data_ptr() if output in self.outputs else 0

    def input(self, name):
        """An input as the runtime gives it, for random tokens."""
        batch, tokens, past = self.batch, self.tokens, self.past
        vocab = self.loaded.package.manifest["model"]["vocab_size"]
        if name == "input_ids":
            values = torch.randint(0, vocab, (batch, tokens))
        elif name == "positions":
            values = (past + torch.arange(tokens) + self.loaded.package.manifest["positions"].get("offset", 0)).repeat(batch)
        elif name == "past":
            values = torch.full((batch,), past)
        elif name == "rows":
            values = torch.arange(batch) * tokens + tokens - 1
        elif name == "mask":
            values = torch.ones(batch * tokens)
        elif name == "token_type_ids":
            values = torch.zeros(batch * tokens)
        else:
            raise Inconsistent(f"{self.loaded.package.name}: {self.name} has the input {name}, which nobody knows")
        return values.to(torch.int32).reshape(-1).contiguous().to(device.NAME)

    def run(self, ids):
        """Run the step once for ids [B, T]. Returns: its outputs by name, f32 on the CPU."""
        self.inputs[[place["name"] for place in self.manifest["inputs"]].index("input_ids")].copy_(torch.as_tensor(ids).reshape(-1))
        for output in self.outputs.values():
            output.fill_(float("nan"))
        for call in self.calls():
            self.loaded.module.launch(call, device.stream(), False)
        device.synchronize()
        return {name: output.cpu().numpy() for name, output in self.outputs.items()}

    def calls(self, chosen=None):
        """The launches of a step. With `chosen`, numbers of the plan's launches, theirs alone."""
        stages = [stage for stage in self.record["launches"] if chosen is None or stage["launch"] in chosen]
        return launches.calls_of(stages, self.memory, self.sizes)

    def graph(self, chosen=None, programmatic=True, times=1):
        """A graph of the step, or of some of its launches."""
        calls = self.calls(chosen)
        if not calls:
            raise Inconsistent(f"{self.loaded.package.name}: {self.name}: no launch runs at {self.sizes}")

        def record():
            stream = device.stream()
            for _ in range(times):
                for call in calls:
                    self.loaded.module.launch(call, stream, programmatic)

        return device.Graph(record)

    def kernels(self):
        """The launches that run by the name of their kernel, but the last layer's of chosen rows: name -> numbers, in order."""
        found = {}
        for index, launch in enumerate(self.loaded.package.profile[self.name]):
            same = found.get(launch["kernel"])
            if self.calls({index}) and (not same or launch["rows"] == same[0]["rows"]):
                found.setdefault(launch["kernel"], []).append({"index": index, "rows": launch["rows"]})
        return {name: [launch["index"] for launch in same] for name, same in found.items()}


def by_kernel(program, rounds, least_seconds=2e-4):
    """Time each kernel of a step over all the launches that share it, one behind the other, as they find their weights in memory.
    Returns: kernel -> {"us" of one launch, "spread", "launches", "weight_bytes" of one, "bytes_per_s"}.
    """
    described, found = program.loaded.package.profile[program.name], {}
    for name, numbers in program.kernels().items():
        if not program.calls(set(numbers)):
            continue
        graph = program.graph(set(numbers))
        once = device.seconds(graph)
        times = max(1, min(20, int(least_seconds / max(once, 1e-7))))
        seconds = sorted(device.seconds(graph, times) / times / len(numbers) for _ in range(max(3, rounds)))
        median, size = seconds[len(seconds) // 2], described[numbers[0]]["weight_bytes"]
        found[name] = {
            "us": round(median * 1e6, 3),
            "spread": round((seconds[-1] - seconds[0]) / 2 / median, 3),
            "launches": len(numbers),
            "weight_bytes": size,
            "bytes_per_s": size / median if size else 0,
            "ops": [op["op"] for op in described[numbers[0]]["ops"]],
        }
    return found
