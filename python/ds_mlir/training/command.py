"""`ds-train CONFIG`, which is `python -m ds_mlir train CONFIG`: from a file to checkpoints and an exported model."""

import argparse
import dataclasses
import math
import pathlib
import shutil
import sys
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

from ds_mlir import errors, evaluate
from ds_mlir.text import Tokenizer
from ds_mlir.training import data, export, log
from ds_mlir.training.config import ProfilerSettings
from ds_mlir.training.engine import Engine
from ds_mlir.training.prepare import make_engine
from ds_mlir.training.recipe import Recipe, read_recipe

_MOST_VALIDATION = 64  # micro batches of one validation


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Give a parser the options of `ds-train`."""
    parser.add_argument("config", help="a JSON file: DeepSpeed's keys, and model, task, data, output and steps")
    parser.add_argument("--resume", nargs="?", const="", metavar="TAG", help="go on from a checkpoint of the output (default: the latest)")
    parser.add_argument("--steps", type=int, metavar="N", help="updates, in place of those of the file")
    parser.add_argument("-o", "--output", metavar="FOLDER", help="in place of that of the file")
    parser.add_argument("-t", "--threads", type=int)
    parser.add_argument(
        "--profile",
        nargs="?",
        const="",
        metavar="FILE",
        help="profile an update, as flops_profiler does; FILE.html, .json and .trace.json are the runtime's (default: text)",
    )
    parser.add_argument("--progress", choices=("auto", "on", "off"), default="auto", help="overwrite the line of a step (default: auto)")


def _tokenizer(recipe: Recipe) -> Tokenizer | None:
    folder = recipe.data.tokenizer or (recipe.model if isinstance(recipe.model, pathlib.Path) else None)
    return Tokenizer(folder) if folder is not None and (recipe.data.tokenizer or (folder / "tokenizer.json").is_file()) else None


def _needed(tokenizer: Tokenizer | None, recipe: Recipe) -> Tokenizer:
    if tokenizer is None:
        raise errors.InvalidArgument(f"invalid argument: data.tokenizer: expects a folder with tokenizer.json for {recipe.task}, got none")
    return tokenizer


def _blocks(recipe: Recipe, tokenizer: Tokenizer | None) -> tuple[Any, Any]:
    """Blocks of tokens for training and validation, None where nothing is held out."""
    settings = recipe.data
    files = [data.read_tokens(path, tokenizer) for path in settings.files]
    held_out: list[np.ndarray] = []
    if isinstance(settings.validation, list):
        held_out = [data.read_tokens(path, tokenizer) for path in settings.validation]
    elif settings.validation > 0:
        pairs = [data.hold_out(tokens, settings.validation) for tokens in files]
        files, held_out = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    causal = recipe.task == "causal-lm"
    around = ([], []) if causal else data.special_around(_needed(tokenizer, recipe))
    made = [data.Blocks(data.pack(part, settings.sequence_length, *around), causal) if part else None for part in (files, held_out)]
    return made[0], made[1]


def _texts(recipe: Recipe, tokenizer: Tokenizer, names: list[str]) -> tuple[Any, Any]:
    """Labelled texts for training and validation."""

    def read(paths: list[pathlib.Path]) -> tuple[list[str], np.ndarray]:
        parts = [evaluate._examples(path, names) for path in paths]
        return [text for part in parts for text in part[0]], np.concatenate([part[1] for part in parts]).astype(np.int32)

    length, validation = recipe.data.sequence_length, recipe.data.validation
    texts, labels = read(recipe.data.files)
    if isinstance(validation, list):
        return data.Labelled(texts, labels, tokenizer, length), data.Labelled(*read(validation), tokenizer, length)
    cut = len(texts) - round(len(texts) * validation)
    order = data._stream(recipe.config.seed, data._SHUFFLE, 0).permutation(len(texts))
    parts = [([texts[i] for i in index], labels[index]) for index in (order[:cut], order[cut:])]
    return tuple(data.Labelled(*part, tokenizer, length) if part[0] else None for part in parts)


def _loaders(recipe: Recipe, engine: Engine) -> tuple[data.DataLoader, data.DataLoader | None]:
    tokenizer, micro, seed = _tokenizer(recipe), recipe.config.batch.micro, recipe.config.seed
    if recipe.task == "sequence-classification":
        names = list(engine.backend.info.get("labels") or []) or [str(i) for i in range(engine.backend.width)]
        train, held_out = _texts(recipe, _needed(tokenizer, recipe), names)
        collate = data.pad_batch
    else:
        train, held_out = _blocks(recipe, tokenizer)
        collate = None
        if recipe.task == "masked-lm":
            known = _needed(tokenizer, recipe)
            vocabulary = min(known.raw.get_vocab_size(), int(engine.backend.info["vocab_size"]))
            collate = data.Masking(vocabulary, data.mask_id(known), data.special_ids(known), recipe.data.mlm_probability, seed)
    loader = data.DataLoader(train, micro, collate_fn=collate, seed=seed)
    if held_out is None:
        return loader, None
    return loader, data.DataLoader(held_out, min(micro, len(held_out)), collate_fn=collate, seed=seed, shuffle=False)


def validate(engine: Engine, loader: data.DataLoader, most: int = _MOST_VALIDATION) -> float:
    """The mean loss over the labels of held-out data; masks are the same each time.
    Args: engine; loader; most, micro batches.
    Returns: nats a label.
    """
    total, count = 0.0, 0
    loader.epoch = loader.position = 0
    for index, batch in enumerate(loader):
        loss = engine.eval_batch(batch)
        total, count = total + float(loss) * loss.tokens, count + loss.tokens
        if index + 1 == most:
            break
    return total / count


def _memory(engine: Engine) -> list[str]:
    """Lines about the memory of a step, and what the compiler chose for it; none for a backend that is no package."""
    if not hasattr(engine.backend, "memory"):
        return []
    parts = ", ".join(f"{name} {count / 2**20:,.1f} MiB" for name, count in engine.backend.memory().items())
    again = engine.backend.recomputed_layers
    return [*engine.backend.notes, f"memory of a step: {parts}" + (f"; {again} layers are computed again" if again else "")]


def _steps(engine: Engine, recipe: Recipe, held_out: data.DataLoader | None, lines: log.RunLog) -> Iterator[int]:
    while engine.global_steps < recipe.steps:
        engine.train_batch()
        lines.step(engine.last)
        at, end = engine.global_steps, engine.global_steps == recipe.steps
        if held_out is not None and (end or (recipe.validate_every and at % recipe.validate_every == 0)):
            loss = validate(engine, held_out)
            lines.validation(at, loss)
            engine.watch.validation(at, loss)
        if end or (recipe.save_every and at % recipe.save_every == 0):
            engine.save_checkpoint(recipe.output / "checkpoints")
        yield at


def train(recipe: Recipe, *, resume: str | None = None, progress: str = "auto", model: Any = None) -> Engine:
    """Train as a recipe says: logs, checkpoints, and the model in the folder `model` of the output.
    Args: recipe; resume, the tag of a checkpoint, "" for the latest, None for a new run; progress, `auto`, `on` or `off`; model, in place
        of the recipe's, such as a backend.
    Returns: the engine.
    Raises: InvalidArgument when the output has a run already and resume is None; what the engine raises.
    """
    checkpoints = recipe.output / "checkpoints"
    if resume is None and (checkpoints / "latest").exists():
        raise errors.InvalidArgument(f"invalid argument: '{recipe.output}': has checkpoints; expects another output, or --resume")
    engine = make_engine(recipe.model if model is None else model, recipe.config, progress=progress)
    engine.print_line = None
    engine.training_dataloader, held_out = _loaders(recipe, engine)
    if resume is not None:
        engine.load_checkpoint(checkpoints, resume or None)
    terminal = {"on": True, "off": False}.get(progress)
    resumed = engine.global_steps if resume is not None else None
    lines = log.RunLog(recipe.output, recipe.steps, every=recipe.config.steps_per_print, terminal=terminal, resumed=resumed)
    try:
        count = sum(math.prod(tensor.shape) for tensor in engine.backend.tensors)
        lines.say(f"{count:,} parameters in {len(engine.backend.tensors)} tensors, {len(engine.training_dataloader.data):,} samples")
        for line in _memory(engine):
            lines.say(line)
        for _ in _steps(engine, recipe, held_out, lines):
            pass
    finally:
        lines.close()
        engine.watch.close()
    _finish(engine, recipe, lines)
    return engine


def _finish(engine: Engine, recipe: Recipe, lines: log.RunLog) -> None:
    target, before = recipe.output / "model", recipe.output / ".model.before"
    shutil.rmtree(before, ignore_errors=True)
    if target.exists():  # of the run that is resumed
        target.rename(before)
    lines.say(f"exported: '{export.export(engine.backend, target, engine.model_folder)}'")
    if recipe.data.tokenizer is not None:
        export.copy_tokenizer(recipe.data.tokenizer, target)
    shutil.rmtree(before, ignore_errors=True)
    try:
        lines.say(f"drawn: '{log.plot_losses({'': recipe.output / 'log.jsonl'}, recipe.output / 'loss.png')}'")
    except errors.Unavailable as error:
        lines.say(str(error))


def run(options: argparse.Namespace) -> None:
    """Run the command with options of `add_arguments`."""
    recipe = read_recipe(options.config, steps=options.steps, output=options.output, threads=options.threads)
    if options.profile is not None:
        profiler = recipe.config.profiler or ProfilerSettings()
        profiler = dataclasses.replace(profiler, output_file=options.profile or profiler.output_file)
        recipe = dataclasses.replace(recipe, config=dataclasses.replace(recipe.config, profiler=profiler))
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *place: print(f"warning: {message}", file=sys.stderr)
        train(recipe, resume=options.resume, progress=options.progress)


def main(arguments: list[str] | None = None) -> int:
    """Run `ds-train` and return its exit status."""
    parser = argparse.ArgumentParser(prog="ds-train", description="Train a model as a JSON file says.")
    add_arguments(parser)
    try:
        run(parser.parse_args(arguments))
    except errors.Error as error:
        print(f"ds-train: {error}", file=sys.stderr)
        return error.code
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
