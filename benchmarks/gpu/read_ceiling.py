"""A kernel that reads memory and does next to nothing else, for the ceiling of what only reads."""

import torch
import triton
import triton.language as tl

# Elements of 4 bytes that a block takes at once, warps, and how many of these pieces a block reads.
CONFIGURATIONS = [(2048, 4, 8), (4096, 4, 4), (4096, 8, 8), (8192, 8, 4), (8192, 8, 16), (8192, 16, 8), (16384, 16, 4)]


@triton.jit
def sum_pieces(source, sums, pieces: tl.constexpr, piece: tl.constexpr):
    """Each block sums `pieces` pieces of `piece` i32 that lie side by side. The sums of a thread do not wait for each other."""
    block = tl.program_id(0)
    at = source + block.to(tl.int64) * (pieces * piece) + tl.arange(0, piece)
    total = tl.zeros([piece], tl.int32)
    for index in tl.static_range(pieces):
        total += tl.load(at + index * piece, eviction_policy="evict_first")
    tl.store(sums + block, tl.sum(total, 0))


def readers(source):
    """Ways to read all of `source` [n] int32, n a multiple of 2**18: name -> function."""
    found = {}
    for piece, warps, pieces in CONFIGURATIONS:
        blocks = source.numel() // (piece * pieces)
        sums = torch.empty(blocks, dtype=torch.int32, device=source.device)

        def read(piece=piece, warps=warps, pieces=pieces, blocks=blocks, sums=sums):
            sum_pieces[(blocks,)](source, sums, pieces, piece, num_warps=warps)
            return sums

        found[f"{piece}x{pieces}, {warps} warps"] = read
    return found
