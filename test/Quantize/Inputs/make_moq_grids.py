"""Write moq_grids.bin: inputs and what DeepSpeed's quantizers make of them, in torch on x86. Needs numpy and torch.

    make_moq_grids.py quantizer.npz

quantizer.npz holds inputs `in_*` and arrays that DeepSpeed 0.19.6 gave; the formulas here must give the same bits before they fill in the
bit widths it lacks.

File, little endian: u32 inputs, for each u32 count and its values (f32); then cases until the end, for each u8 input, u8 bits,
u8 kind (1 asymmetric, 2 of inference), u8 given range (-1.5 to 2), u32 groups, u32 levels, the levels (f32), for each value the number
of its level (u8, u16 where there are more than 256).
"""

import pathlib
import re
import struct
import sys

import numpy as np
import torch

RANGE = (-1.5, 2.0)


def quantize(x, bits, asymmetric, groups, value_range=None):
    """Round x [any shape] to a grid as deepspeed.runtime.quantize and deepspeed.compression.utils do."""
    flat = torch.from_numpy(x).reshape(groups, -1)
    if bits <= 2:
        mean = flat.norm(p=1, dim=1, keepdim=True).div(flat.shape[1])
        if bits == 1:
            return flat.sign().mul(mean).numpy()
        threshold = 0.7 * mean
        mask = (flat.abs() > threshold).type(flat.type())
        alpha = ((mask * flat).abs().sum(dim=1) / mask.sum(dim=1)).view(-1, 1)
        return (alpha * (flat > threshold).float() - alpha * (flat < -threshold).float()).numpy()
    low, high = flat.amin(dim=-1, keepdim=True), flat.amax(dim=-1, keepdim=True)
    if value_range:
        low, high = (torch.full_like(low, value) for value in value_range)
    if asymmetric:
        scale = (high - low) / 2**bits
        offset = (low / scale).round() * scale
        return (((flat - offset) / scale).round().clamp(0, 2**bits - 1) * scale + offset).numpy()
    scale = 2 * torch.max(low.abs(), high.abs()) / 2**bits
    return ((flat / scale).round().clamp(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) * scale).numpy()


def quantize_for_inference(x, groups, bits=8):
    """Return codes [shape of x] and codes for 1 [groups, 1] as deepspeed.module_inject rounds weights to serve them."""
    flat = torch.from_numpy(x).reshape(groups, -1)
    steps = 2**bits / (2 * flat.abs().amax(dim=1, keepdim=True) + 1e-5)
    codes = (flat * steps).round().clamp(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    return codes.reshape(x.shape).numpy(), steps.numpy()


def values_for_inference(x, groups, bits=8):
    codes, steps = quantize_for_inference(x, groups, bits)
    return (codes.reshape(groups, -1) * (1 / steps)).reshape(x.shape)


def read_key(key):
    """Return input, bits, asymmetric, groups and range of an array's key; None for arrays that are not of these grids."""
    if found := re.fullmatch(r"moq_(\w+?)_(ternary|binary)_g(\d+)", key):
        return found[1], 2 if found[2] == "ternary" else 1, False, int(found[3]), None
    if found := re.fullmatch(r"moq_(\w+?)_(a?)symmetric_g(\d+)_b(\d+)", key):
        return found[1], int(found[4]), found[2] == "a", int(found[3]), None
    if found := re.fullmatch(r"qat_(a?)sym_static_(\w+)_b(\d+)", key):
        return found[2], int(found[3]), found[1] == "a", 1, RANGE
    if found := re.fullmatch(r"qat_(a?)sym_(\w+)_g(\d+)_b(\d+)", key):
        return found[2], int(found[4]), found[1] == "a", int(found[3]), None
    return None


def same_bits(a, b):
    return np.array_equal(a.reshape(-1).view(np.uint32), b.reshape(-1).view(np.uint32))


def encode_case(number, values, bits, kind, groups, value_range):
    levels, places = np.unique(values.reshape(-1).view(np.uint32), return_inverse=True)
    head = struct.pack("<BBBBII", number, bits, kind, value_range is not None, groups, len(levels))
    return head + levels.astype("<u4").tobytes() + places.astype("u1" if len(levels) <= 256 else "<u2").tobytes()


def main():
    arrays = np.load(sys.argv[1])
    inputs = [arrays[key] for key in arrays if key.startswith("in_")]
    checked = 0
    for key in arrays:
        if case := read_key(key):
            assert same_bits(quantize(arrays["in_" + case[0]], *case[1:]), arrays[key]), key
            checked += 1
        elif found := re.fullmatch(r"infq_(\w+)_g(\d+)_data", key):
            codes, steps = quantize_for_inference(arrays["in_" + found[1]], int(found[2]))
            assert np.array_equal(codes, arrays[key]), key
            assert same_bits(steps, arrays[key.removesuffix("data") + "scale"]), key
            checked += 2
    assert checked == sum(not key.startswith("in_") for key in arrays)
    print(checked, "arrays equal")
    # Groups shorter than a vector are summed in another order.
    inputs.append(np.random.default_rng(7).standard_normal((24, 7)).astype(np.float32))
    out = struct.pack("<I", len(inputs))
    for x in inputs:
        out += struct.pack("<I", x.size) + x.astype("<f4").tobytes()
    for number, x in enumerate(inputs):
        groups_tried = (24, 42) if number == len(inputs) - 1 else (1, 4, 8)
        cases = [(bits, False, groups, None) for bits in (1, 2) for groups in groups_tried]
        # The larger inputs and the last are there for the order of sums.
        if x.size in (64, 1536):
            cases += [(8, asymmetric, 1, RANGE) for asymmetric in (False, True)]
            cases += [(bits, asymmetric, groups, None) for bits in range(3, 9) for asymmetric in (False, True) for groups in groups_tried]
        elif x.size > 1536:
            cases += [(4, asymmetric, 4, None) for asymmetric in (False, True)]
        for groups in groups_tried:
            out += encode_case(number, values_for_inference(x, groups), 8, 2, groups, None)
        for case in cases:
            out += encode_case(number, quantize(x, *case), *case)
    (pathlib.Path(__file__).parent / "moq_grids.bin").write_bytes(out)


if __name__ == "__main__":
    main()
