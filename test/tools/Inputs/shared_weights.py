"""Compares the weights of packages of one target each with those of one for both. Arguments: CPU DEVICE BOTH. Prints what BOTH has once;
fails where it lacks a weight or the range that both targets read is not what is alike."""

import json
import pathlib
import struct
import sys


def storages(package):
    """Name -> (shape, bytes) of a package's weights."""
    data = (pathlib.Path(package) / "weights-00001.safetensors").read_bytes()
    (length,) = struct.unpack_from("<Q", data)
    found = {}
    for name, tensor in json.loads(data[8 : 8 + length]).items():
        if not name.startswith("__"):
            begin, end = tensor["data_offsets"]
            found[name] = (tensor["shape"], data[8 + length + begin : 8 + length + end])
    return found


cpu, device, both = (storages(package) for package in sys.argv[1:])
once = sorted(name for name in cpu.keys() & device.keys() if cpu[name] == device[name])
if both != cpu | device:
    sys.exit(f"expected the weights of both, found other ones: {sorted(both)}")
manifest = json.loads((pathlib.Path(sys.argv[3]) / "manifest.json").read_text())
table = json.loads((pathlib.Path(sys.argv[3]) / "code/launches.json").read_text())
shared = manifest["weights"]["data_bytes"] - table["weights"]["offset"]
if not sum(len(cpu[name][1]) for name in once) <= shared < sum(len(cpu[name][1]) + 64 for name in once):
    sys.exit(f"expected {shared} bytes to hold {once}")
print("once:", *once)
