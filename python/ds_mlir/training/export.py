"""A trained model as a folder that transformers opens and ds-compile compiles."""

import dataclasses
import json
import os
import pathlib

from ds_mlir import errors
from ds_mlir.training.backend import Backend
from ds_mlir.training.model_writer import export_model
from ds_mlir.training.package import copy_tokenizer as copy_tokenizer
from ds_mlir.training.package import has_weights


def export(backend: Backend, folder: str | os.PathLike, source: pathlib.Path | None) -> pathlib.Path:
    """Write a model's folder: model.safetensors, config.json and the tokenizer's files.
    Args: backend, whose parameters are written; folder, new or empty; source, the folder the model came from, whose other tensors are kept.
    Returns: the folder.
    Raises: CannotWrite, InvalidArgument for a folder that has files, BadData for files of the source that are no safetensors.
    """
    target = pathlib.Path(folder)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise errors.InvalidArgument(f"invalid argument: '{target}': expects a new folder, found one with files")
    trained = (*backend.tensors, *backend.frozen)
    table = [dataclasses.asdict(tensor) for tensor in trained]
    values = {tensor.name: backend.view("parameter", tensor.name) for tensor in trained}
    config = json.loads((source / "config.json").read_bytes()) if source is not None and (source / "config.json").is_file() else None
    checkpoint = source if source is not None and has_weights(source) else None
    return export_model(target, table, values, config, task=backend.info.get("task"), checkpoint=checkpoint, tokenizer=source)
