"""Writes trained parameters back as the checkpoint they came from: a folder that transformers opens and ds-compile compiles."""

import ctypes
import json
import math
import os
import pathlib
import shutil
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from ds_mlir import errors
from ds_mlir.training import weights

# What a tokenizer and generation need. Poolings of sentence-transformers stay behind: with them, ds-compile would take the folder for one.
_SIDE_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "tokenizer.model",
    "spiece.model",
    "chat_template.jinja",
    "generation_config.json",
)
# Second copies of tied weights. They would keep the values from before training.
_TIED_COPIES = (
    "embed_out.weight",
    "lm_head.decoder.bias",
    "lm_head.decoder.weight",
    "lm_head.weight",
    "predictions.decoder.bias",
    "predictions.decoder.weight",
    "vocab_projector.weight",
)
# Names of transformers' classes: of an encoder's family, and of what it is trained for.
_CLASSES = {"bert": "Bert", "distilbert": "DistilBert", "roberta": "Roberta", "roberta-prelayernorm": "RobertaPreLayerNorm"}
_HEADS = {"encoder": "Model", "masked-lm": "ForMaskedLM", "sequence-classification": "ForSequenceClassification"}
_EXCHANGE, _AT_FDCWD = 2, -100

Entry = tuple[str, str, list[int], Callable[[], np.ndarray]]  # name, type, shape, and how its values are made


def export_model(
    path: str | os.PathLike,
    tensors: Sequence[Mapping],
    values: Mapping[str, np.ndarray],
    config: Mapping | None,
    *,
    task: str | None = None,
    checkpoint: str | os.PathLike | None = None,
    tokenizer: str | os.PathLike | None = None,
) -> pathlib.Path:
    """Write a Hugging Face folder of trained parameters, in f32; an older one there is replaced in one step.
    Args: path, the folder; tensors, the state table; values, each parameter's values by name; config, the model's config.json,
        None where it is not known; task, what the model was trained for, so that the configuration names its class; checkpoint, the folder
        that training started from, whose other tensors are kept as they are; tokenizer, the folder whose tokenizer is copied, the
        checkpoint's when None.
    Returns: the folder.
    Raises: BadData for values that do not fill their tensors; CannotWrite when the disk is full or the place taken: what was there stays.
    """
    path = pathlib.Path(path)
    if path.exists() and not (path.is_dir() and ((path / "config.json").is_file() or not any(path.iterdir()))):
        raise errors.CannotWrite(f"cannot write '{path}': expects a model's folder, an empty one or nothing there, found something else")
    entries = _entries(tensors, values, config or {}, weights.CheckpointTensors(checkpoint) if checkpoint is not None else None)
    files = tokenizer if tokenizer is not None else checkpoint
    work = path.with_name(f"{path.name}.tmp-{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        _write_safetensors(work / "model.safetensors", entries)
        if config is not None:
            text = json.dumps(_written_config(config, task), indent=2, ensure_ascii=False)
            _write(work / "config.json", [text.encode() + b"\n"])
        for name in _SIDE_FILES if files is not None else ():
            if (pathlib.Path(files) / name).is_file():
                _write(work / name, [(pathlib.Path(files) / name).read_bytes()])
        _sync_folder(work)
        _put_in_place(work, path)
        _sync_folder(path.parent)
    except OSError as error:
        raise errors.CannotWrite(f"cannot write '{path}': {(error.strerror or str(error)).lower()}") from error
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return path


def _written_config(config, task):
    """The configuration of the model as it is written: in f32, and of the class that was trained."""
    written = {**config} | {key: "float32" for key in ("dtype", "torch_dtype") if key in config}
    if config.get("model_type") in _CLASSES and task in _HEADS:
        written["architectures"] = [_CLASSES[config["model_type"]] + _HEADS[task]]
    return written


def _entries(tensors, values, config, checkpoint) -> list[Entry]:
    """Name every tensor of the folder. Values are made one tensor at a time, as they are written."""
    entries, replaced, base = [], set(), ""
    sources = weights.by_source(tensors)
    for source, parts in sources.items():
        spelled = checkpoint.spelling(source, config) if checkpoint else None
        if spelled is not None:
            replaced.add(spelled)
            # A checkpoint of hidden states alone lacks the name of its base module.
            base = max(base, source.removesuffix(spelled) if source.endswith(spelled) else "", key=len)
        entries.append(_trained(source, parts, values, checkpoint, spelled))
    entries += _never_read(sources, config)
    if checkpoint:
        names, tied = {entry[0] for entry in entries}, config.get("tie_word_embeddings", True)
        for name in checkpoint.names():
            kept = name if name.startswith(base) else base + name
            if name in replaced or kept in names or (tied and name.endswith(_TIED_COPIES)):
                continue
            kind, shape, raw = checkpoint.raw(name)
            entries.append((kept, kind, shape, lambda raw=raw: raw))
    return entries


def _trained(source, parts, values, checkpoint, spelled) -> Entry:
    for part in parts:
        found = values.get(part["name"])
        if found is None or found.size != math.prod(part["shape"]):
            what = "none" if found is None else list(found.shape)
            raise errors.BadData(f"bad data: parameter '{part['name']}': expects values of shape {list(part['shape'])}, found {what}")
    shape = list(parts[0]["stored_shape"])
    filled = sum(math.prod(part["shape"]) for part in parts) == math.prod(shape)
    if not filled and spelled is None:
        raise errors.BadData(f"bad data: tensor '{source}': its parameters do not fill it, and no checkpoint has the rest")

    def make():
        stored = np.empty(shape, np.float32) if filled else checkpoint.read(spelled)
        for part in parts:
            box = weights.stored_box(stored, part)
            box[...] = values[part["name"]].reshape(box.shape)
        return stored

    return source, "F32", shape, make


def _never_read(sources, config) -> list[Entry]:
    """Tensors that transformers' class has and no forward reads: the bias that an untied masked-LM head has beside its decoder's own."""
    size = config.get("vocab_size", 0)
    names = {"cls.predictions.decoder.bias": "cls.predictions.bias", "lm_head.decoder.bias": "lm_head.bias"}
    missing = [twin for name, twin in names.items() if name in sources and twin not in sources]
    return [(twin, "F32", [size], lambda: np.zeros(size, np.float32)) for twin in missing]


def _write_safetensors(path, entries):
    """Write tensors in the order of the format's own writer, wider types first, then by name: so each lies aligned."""
    item = {name: np.dtype(kind).itemsize for name, kind in weights.STORED_TYPES.items()}
    entries = sorted(entries, key=lambda entry: (-item[entry[1]], entry[0]))
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for name, kind, shape, _ in entries:
        end = offset + math.prod(shape) * item[kind]
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)

    def pieces():
        yield from (len(text).to_bytes(8, "little"), text)
        for _, _, _, make in entries:
            yield np.ascontiguousarray(make()).reshape(-1).view(np.uint8)

    _write(path, pieces())


def _write(path, pieces):
    with path.open("xb") as file:
        for piece in pieces:
            file.write(piece)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(path):
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _put_in_place(work, path):
    """Rename a folder; where one is there, the two change places, so that there is always a whole one."""
    if not path.exists():
        os.rename(work, path)
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.renameat2(_AT_FDCWD, os.fsencode(work), _AT_FDCWD, os.fsencode(path), _EXCHANGE) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
