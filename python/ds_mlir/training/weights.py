"""Values that training starts from: those of a checkpoint, or drawn as transformers draws them (and for GPT-2, Radford et al. 2019)."""

import hashlib
import json
import math
import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from ds_mlir import errors

# The module that a model with a head keeps its encoder or decoder in; a checkpoint of hidden states alone has names without it.
_BASE_MODULES = {
    "bert": "bert.",
    "roberta": "roberta.",
    "roberta-prelayernorm": "roberta_prelayernorm.",
    "gpt2": "transformer.",
    "llama": "model.",
    "mistral": "model.",
    "qwen2": "model.",
}
# Tables whose row of the padding token is zero, and that token where the configuration does not say.
_PADDED_TABLES = {
    "bert": (("word_embeddings.weight",), 0),
    "roberta": (("word_embeddings.weight", "position_embeddings.weight"), 1),
    "roberta-prelayernorm": (("word_embeddings.weight", "position_embeddings.weight"), 1),
    "llama": (("embed_tokens.weight",), None),
    "mistral": (("embed_tokens.weight",), None),
    "qwen2": (("embed_tokens.weight",), None),
}
_OLD_NAMES = (("LayerNorm.weight", "LayerNorm.gamma"), ("LayerNorm.bias", "LayerNorm.beta"))
# Types as safetensors spells them; bf16 is read as the bits it has.
STORED_TYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1", "U8": "u1"}
STORED_TYPES |= {"BOOL": "?", "U16": "<u2", "U32": "<u4", "U64": "<u8"}


class CheckpointTensors:
    """The tensors of a Hugging Face folder, read from mapped files."""

    def __init__(self, folder: str | os.PathLike):
        """Map the files of a folder.
        Raises: Missing without safetensors, BadData for a file that is not whole.
        """
        self.folder = pathlib.Path(folder)
        self._places = {}
        index = self.folder / "model.safetensors.index.json"
        files = ["model.safetensors"]
        if not (self.folder / files[0]).is_file() and index.is_file():
            try:
                files = sorted(set(json.loads(index.read_text())["weight_map"].values()))
            except (ValueError, KeyError, AttributeError, TypeError) as error:
                raise errors.BadData(f"bad data: '{index}': expects an index with 'weight_map'") from error
            if not all(isinstance(name, str) and pathlib.PurePath(name).name == name for name in files):
                raise errors.BadData(f"bad data: '{index}': expects names of files in its folder")
        for name in files:
            self._open(self.folder / name)

    def _open(self, path):
        if not path.is_file():
            raise errors.Missing(f"missing: '{path}': expects weights as safetensors")
        data = np.memmap(path, np.uint8, "r") if path.stat().st_size else np.empty(0, np.uint8)
        length = int.from_bytes(data[:8].tobytes(), "little")
        if len(data) < 8 or length > len(data) - 8:
            raise errors.BadData(f"bad data: '{path}': expects a safetensors header, found {len(data)} bytes")
        try:
            header = json.loads(data[8 : 8 + length].tobytes())
            header.pop("__metadata__", None)
            for name, entry in header.items():
                begin, end = entry["data_offsets"]
                raw = data[8 + length + begin : 8 + length + end]
                shape = [int(size) for size in entry["shape"]]
                if min([begin, *shape]) < 0 or raw.size != math.prod(shape) * np.dtype(STORED_TYPES[entry["dtype"]]).itemsize:
                    raise ValueError(f"tensor {name!r} does not fill its place")
                self._places[name] = (entry["dtype"], shape, raw)
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            raise errors.BadData(f"bad data: '{path}': its safetensors header does not hold: {error}") from error

    def __contains__(self, name: str) -> bool:
        return name in self._places

    def names(self) -> list[str]:
        """Names of all tensors, sorted."""
        return sorted(self._places)

    def raw(self, name: str) -> tuple[str, list[int], np.ndarray]:
        """Type as safetensors spells it, shape and bytes of a tensor."""
        return self._places[name]

    def read(self, name: str) -> np.ndarray:
        """Values of a tensor of floats, as an f32 array of its own.
        Raises: BadData for a tensor of integers.
        """
        kind, shape, raw = self._places[name]
        if kind not in ("F64", "F32", "F16", "BF16"):
            raise errors.BadData(f"bad data: '{self.folder}': tensor '{name}': expects a floating type, found {kind}")
        stored = raw.view(STORED_TYPES[kind])
        if kind == "BF16":
            return (stored.astype(np.uint32) << 16).view(np.float32).reshape(shape)
        return stored.astype(np.float32).reshape(shape)

    def spelling(self, source: str, config: Mapping) -> str | None:
        """Find the name this checkpoint has for a tensor of transformers' class: with or without the base module, or TensorFlow's for
        norms. None: it is not here.
        """
        base = _BASE_MODULES.get(config.get("model_type"), "")
        for name in (source, source.removeprefix(base), base + source):
            for new, old in (("", ""), *_OLD_NAMES):
                spelled = name.removesuffix(new) + old if name.endswith(new) else name
                if spelled in self:
                    return spelled
        return None


def stored_box(stored: np.ndarray, tensor: Mapping) -> np.ndarray:
    """Show the elements of a stored tensor that one parameter is made of; what is written to the result is written to `stored`.
    Args: stored, the whole tensor, contiguous; tensor, the parameter's entry in the state table.
    Returns: an array in the order of the parameter, of the sizes of its view.
    Raises: BadData for a view that leaves the tensor.
    """
    flat = stored.reshape(-1)
    view = tensor.get("view") or {"offset": 0, "sizes": tensor["shape"], "strides": None}
    offset, sizes, strides = view["offset"], view["sizes"], view["strides"]
    if strides is None:
        strides = [math.prod(sizes[axis + 1 :]) for axis in range(len(sizes))]
    last = offset + sum((size - 1) * stride for size, stride in zip(sizes, strides, strict=True))
    if min([offset, *sizes, *strides]) < 0 or last >= flat.size or math.prod(sizes) != math.prod(tensor["shape"]):
        raise errors.BadData(f"bad data: parameter '{tensor['name']}': its view does not lie in tensor '{tensor['source']}'")
    return np.lib.stride_tricks.as_strided(flat[offset:], sizes, [stride * flat.itemsize for stride in strides])


def by_source(tensors: Sequence[Mapping]) -> dict[str, list[Mapping]]:
    """Group a state table by the stored tensor that parameters are parts of, sorted by its name.
    Raises: BadData where two entries disagree about its shape.
    """
    groups = {}
    for tensor in tensors:
        groups.setdefault(tensor["source"], []).append(tensor)
        if list(tensor["stored_shape"]) != list(groups[tensor["source"]][0]["stored_shape"]):
            raise errors.BadData(f"bad data: parameter '{tensor['name']}': expects one shape of tensor '{tensor['source']}'")
    return dict(sorted(groups.items()))


def draw_tensor(source: str, shape: Sequence[int], config: Mapping, seed: int) -> np.ndarray:
    """Draw a stored tensor as transformers initializes it.
    Matrices are normal of deviation `initializer_range`, GPT-2's projections to the residual sum of that over sqrt(2 * layers); gains of
    norms are 1, biases 0, and so is the padding token's row. Each name has a stream of its own, whatever else is drawn.
    Raises: BadData for a tensor that is none of these.
    """
    family, kind = config.get("model_type"), source.rpartition(".")[2]
    if len(shape) == 1 and kind in ("weight", "gamma"):
        return np.ones(shape, np.float32)
    if len(shape) == 1 and kind in ("bias", "beta"):
        return np.zeros(shape, np.float32)
    if len(shape) != 2 or kind != "weight" or family not in _BASE_MODULES:
        raise errors.BadData(f"bad data: tensor '{source}' of shape {list(shape)}: family '{family}' has no rule for its first values")
    deviation = config.get("initializer_range") or 0.02
    if family == "gpt2" and source.endswith("c_proj.weight"):
        deviation /= math.sqrt(2 * config["n_layer"])
    words = np.frombuffer(hashlib.sha256(source.encode()).digest(), np.uint32).tolist()
    generator = np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, *words])))
    values = generator.standard_normal(shape, dtype=np.float32)
    values *= np.float32(deviation)
    tables, padding = _PADDED_TABLES.get(family, ((), None))
    if config.get("pad_token_id") is not None:
        padding = config["pad_token_id"]
    if padding is not None and source.endswith(tables) and tables and -shape[0] <= padding < shape[0]:
        values[padding] = 0
    return values


def drawn_sources(tensors: Sequence[Mapping], config: Mapping, folder: str | os.PathLike) -> list[str]:
    """List the stored tensors that a checkpoint lacks and `initial_values` therefore draws, such as the head of a new task."""
    checkpoint = CheckpointTensors(folder)
    return [source for source in by_source(tensors) if checkpoint.spelling(source, config) is None]


def initial_values(
    tensors: Sequence[Mapping], config: Mapping, *, seed: int, folder: str | os.PathLike | None = None
) -> Iterator[tuple[str, np.ndarray]]:
    """Give each parameter its first value, a stored tensor at a time.
    Args: tensors, the state table of a training package; config, the model's config.json; seed, what drawn values depend on beside the
        tensor's name; folder, a checkpoint to read what it has from; None draws all.
    Yields: the parameter's name and its values, f32, of the shape in the table.
    Raises: BadData for a tensor of another shape than the table says, or one that has no rule.
    """
    checkpoint = CheckpointTensors(folder) if folder is not None else None
    for source, parts in by_source(tensors).items():
        shape = list(parts[0]["stored_shape"])
        name = checkpoint.spelling(source, config) if checkpoint else None
        stored = draw_tensor(source, shape, config, seed) if name is None else checkpoint.read(name)
        if list(stored.shape) != shape:
            raise errors.BadData(f"bad data: '{folder}': tensor '{name}': expects shape {shape}, found {list(stored.shape)}")
        for part in parts:
            yield part["name"], stored_box(stored, part).reshape(part["shape"])
