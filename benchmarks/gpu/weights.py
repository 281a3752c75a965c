"""Weights as a package packs them (dialects/DSPlan/TileCodes.h): random ones, and what packed ones say."""

import math

import torch

TILE_BYTES, BLOCK_ROWS, PART = 512, 8, 32
CHUNK = 1 << 26  # elements that are packed at once
SPREAD = 0.02  # standard deviation of random weights


def parts(storage):
    """Cut a matrix of tiles at whole blocks. Yields (first block, end)."""
    blocks = storage.shape[0]
    step = max(2, CHUNK // (BLOCK_ROWS * padded_depth(storage)) // 2 * 2)
    for first in range(0, blocks, step):
        yield first, min(blocks, first + step)


def padded_depth(storage):
    """Columns with those behind the last that fill a tile."""
    per_tile = TILE_BYTES // BLOCK_ROWS * 8 // storage.bits
    return math.ceil(storage.depth / per_tile) * per_tile


def block_view(storage, data):
    """The bytes of a matrix, [blocks, bytes of a block] uint8."""
    return data[storage.offset : storage.offset + storage.bytes].view(storage.shape[0], -1)


def is_inside(storage, first, end, device):
    """Where blocks [first, end) hold elements of the matrix and not what fills tiles: [rows, depth] bool."""
    row = torch.arange(first * BLOCK_ROWS, end * BLOCK_ROWS, device=device)[:, None]
    return (row < storage.rows) & (torch.arange(padded_depth(storage), device=device)[None] < storage.depth)


def pack_codes(storage, codes):
    """Put codes [rows, depth] uint8 of whole blocks into tiles: [blocks, bytes] uint8."""
    blocks, parts_of_tile = codes.shape[0] // BLOCK_ROWS, TILE_BYTES // BLOCK_ROWS * 8 // storage.bits // PART
    tiles = codes.view(blocks, BLOCK_ROWS, -1, parts_of_tile, 4, 8).permute(0, 2, 1, 4, 3, 5)
    if storage.bits == 8:
        return tiles.reshape(blocks, -1)
    shifts = torch.tensor([i // 2 * 4 + i % 2 * 16 for i in range(8)], dtype=torch.int32, device=codes.device)
    words = (tiles.to(torch.int32) << shifts).sum(-1, dtype=torch.int32)
    return words.reshape(blocks, -1).view(torch.uint8)


def unpack_codes(storage, packed, columns):
    """The codes [rows, depth] int32 of blocks [blocks, bytes] uint8."""
    blocks, parts_of_tile = packed.shape[0], TILE_BYTES // BLOCK_ROWS * 8 // storage.bits // PART
    if storage.bits == 8:
        tiles = packed.reshape(blocks, -1, BLOCK_ROWS, 4, parts_of_tile, 8).to(torch.int32)
    else:
        shifts = torch.tensor([i // 2 * 4 + i % 2 * 16 for i in range(8)], dtype=torch.int32, device=packed.device)
        words = packed.contiguous().view(torch.int32).reshape(blocks, -1, BLOCK_ROWS, 4, parts_of_tile, 1)
        tiles = (words >> shifts) & 15
    return tiles.permute(0, 2, 1, 4, 3, 5).reshape(blocks * BLOCK_ROWS, columns)


def scale_places(storage):
    """Where scales begin in a block, groups of a row, and the type of scales."""
    columns = padded_depth(storage)
    groups = math.ceil(storage.depth / (storage.group or storage.depth))
    return columns * storage.bits // 8 * BLOCK_ROWS, groups, torch.float16 if storage.scale == "f16" else torch.float32


def fill_tiles(storage, data, generator):
    """Fill a matrix of bf16 with normal values, zeros behind its rows and columns."""
    out = block_view(storage, data)
    for first, end in parts(storage):
        shape = ((end - first) * BLOCK_ROWS, padded_depth(storage))
        values = torch.randn(shape, device=data.device, generator=generator) * SPREAD * is_inside(storage, first, end, data.device)
        tiles = values.to(torch.bfloat16).view(end - first, BLOCK_ROWS, -1, PART).transpose(1, 2)
        out[first:end] = tiles.reshape(end - first, -1).view(torch.uint8)


def fill_codes(storage, data, generator):
    """Fill a quantized matrix: every code as likely as any other, scales such that weights spread as those of bf16 do."""
    out, levels = block_view(storage, data), 1 << storage.bits
    code_bytes, groups, scale_type = scale_places(storage)
    zero, step = levels // 2, SPREAD / (levels / math.sqrt(12))
    for first, end in parts(storage):
        shape = ((end - first) * BLOCK_ROWS, padded_depth(storage))
        codes = torch.randint(0, levels, shape, dtype=torch.uint8, device=data.device, generator=generator)
        codes.masked_fill_(~is_inside(storage, first, end, data.device), 0 if storage.asymmetric else zero)
        out[first:end, :code_bytes] = pack_codes(storage, codes)
        scales = torch.rand((end - first, groups, BLOCK_ROWS), device=data.device, generator=generator) * step + step / 2
        behind = torch.stack([scales, -scales * zero], 1) if storage.asymmetric else scales
        out[first:end, code_bytes:] = behind.to(scale_type).reshape(end - first, -1).view(torch.uint8)


def fill_rope(storage, data):
    """Fill a table of cosines and sines."""
    positions, _, half = storage.shape
    frequencies = 10000.0 ** (-torch.arange(half, device=data.device) / half)
    angles = torch.arange(positions, device=data.device)[:, None] * frequencies
    table = torch.stack([angles.cos(), angles.sin()], 1)
    data[storage.offset : storage.offset + storage.bytes] = table.reshape(-1).view(torch.uint8)


def fill(storage, data, generator):
    """Write random weights in the place of one storage.
    Args: data, the data part of a weights file, uint8 on any device.
    """
    if storage.layout == "tiles":
        fill_tiles(storage, data, generator)
    elif storage.layout == "tile_codes":
        fill_codes(storage, data, generator)
    elif storage.layout == "rope":
        fill_rope(storage, data)
    elif storage.layout in ("vector", "rows"):
        kind = {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}[storage.dtype]
        values = torch.randn(math.prod(storage.shape), device=data.device, generator=generator) * SPREAD
        stem = storage.parameter.lower()
        if storage.layout == "vector" and stem.endswith("weight"):
            values += 1  # the gain of a norm
        data[storage.offset : storage.offset + storage.bytes] = values.to(kind).view(torch.uint8)
    else:
        raise ValueError(f"{storage.name}: layout {storage.layout} is none of a GPU's")


def random_data(package, device, seed=0):
    """The data part of a package's weights, made anew, with zeros between storages."""
    generator = torch.Generator(device).manual_seed(seed)
    data = torch.zeros(package.data_bytes, dtype=torch.uint8, device=device)
    for storage in package.storages:
        fill(storage, data, generator)
    return data


def read_data(package, device):
    """The data part of a package's weights file."""
    file = torch.from_file(str(package.weights_path), size=package.data_offset + package.data_bytes, dtype=torch.uint8)
    return file[package.data_offset :].to(device)


def dense(storage, data, kind=torch.float32):
    """The values of a storage: a matrix [rows, depth], or what `vector` and `rows` hold, in their own shape."""
    if storage.layout not in ("tiles", "tile_codes"):
        source = {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}[storage.dtype]
        return data[storage.offset : storage.offset + storage.bytes].view(source).view(storage.shape).to(kind)
    out = torch.empty((storage.rows, storage.depth), dtype=kind, device=data.device)
    view, columns = block_view(storage, data), padded_depth(storage)
    for first, end in parts(storage):
        blocks = view[first:end]
        if storage.layout == "tiles":
            tiles = blocks.contiguous().view(torch.bfloat16).view(end - first, -1, BLOCK_ROWS, PART)
            values = tiles.transpose(1, 2).reshape(-1, columns)
        else:
            code_bytes, groups, scale_type = scale_places(storage)
            codes = unpack_codes(storage, blocks[:, :code_bytes], columns)[:, : storage.depth]
            scales = blocks[:, code_bytes:].contiguous().view(scale_type).view(end - first, -1, groups, BLOCK_ROWS)
            scales = scales.float().permute(1, 0, 3, 2).reshape(scales.shape[1], -1, groups)
            of_column = torch.arange(storage.depth, device=data.device) // (storage.group or storage.depth)
            values = (codes if storage.asymmetric else codes - (1 << storage.bits >> 1)) * scales[0][:, of_column]
            if storage.asymmetric:
                values += scales[1][:, of_column]
        last = min(storage.rows, end * BLOCK_ROWS)
        out[first * BLOCK_ROWS : last] = values[: last - first * BLOCK_ROWS, : storage.depth].to(kind)
    return out
