"""Write golden.bin: random blocks of each quantized type and gguf-py's own values of them.

For each type: name (8 bytes, padded with zeros), u32 bytes, u32 values, the bytes, the values (f32), little endian.
"""

import pathlib
import struct

import gguf
import numpy as np

scale_places = {
    **{"Q8_0": [0], "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208]},
    **{"Q2_K": [80, 82], "Q3_K": [108], "IQ4_NL": [0], "IQ4_XS": [0]},
}
random = np.random.default_rng(7)
out = b""
for name, places in scale_places.items():
    kind = gguf.GGMLQuantizationType[name]
    elements, size = gguf.GGML_QUANT_SIZES[kind]
    count = 1024 // elements if elements == 256 else 8
    blocks = random.integers(0, 256, (count, size), dtype=np.uint8)
    for place in places:  # finite, one of them subnormal
        scales = random.normal(0, 0.1, count).astype(np.float16)
        scales[0] = 3e-6
        blocks[:, place : place + 2] = scales.view(np.uint8).reshape(count, 2)
    values = gguf.quants.dequantize(blocks, kind).astype("<f4").ravel()
    out += struct.pack("<8sII", name.encode(), blocks.size, values.size) + blocks.tobytes() + values.tobytes()
(pathlib.Path(__file__).parent / "golden.bin").write_bytes(out)
