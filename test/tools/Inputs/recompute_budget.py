"""Compiles a GPT-2 of eight layers for training with numbers of layers, then with budgets of what these keep, and says what was chosen."""

import json
import pathlib
import re
import subprocess

LAYERS = 8


PLAN = ("--emit=plan", "-o", "plan.mlir")


def compiled(recompute, more=PLAN):
    arguments = ["ds-compile", "gpt2", "--train", "--random-weights", f"--recompute={recompute}", "--max-batch=2", "--max-rows=64", *more]
    return subprocess.run(arguments, check=True, capture_output=True, text=True).stderr


def arena():
    return int(re.search(r"@step max_batch 2 max_rows 64 arena (\d+)", pathlib.Path("plan.mlir").read_text())[1])


def chosen(note):
    return tuple(int(group) for group in re.search(rf"recompute: (\d+) of {LAYERS} layers, a step keeps (\d+) .* without (\d+)", note).groups())


pathlib.Path("gpt2").mkdir()
shape = {"n_embd": 32, "n_layer": LAYERS, "n_head": 2, "n_positions": 64, "vocab_size": 64}
config = {"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"], **shape}
pathlib.Path("gpt2/config.json").write_text(json.dumps(config))
keeps = []
for count in range(LAYERS + 1):
    compiled(count)
    keeps.append(arena())
for compute in ("f32", "bf16", "f16"):
    sizes = []
    for recompute in ("none", "all"):
        compiled(recompute, (f"--compute={compute}", *PLAN))
        sizes.append(arena())
    print(f"{compute}: all layers keep at most half" if 2 * sizes[1] <= sizes[0] else f"{compute}: {sizes}")
layers, kept, without = chosen(compiled(f"budget:{keeps[0]}"))
print(f"room: {layers} layers" if kept == without == keeps[0] == arena() else f"room: {kept}, {without}, {keeps}")
layers, kept, without = chosen(compiled(f"budget:{keeps[LAYERS]}"))
fewest = next(count for count in range(LAYERS + 1) if keeps[count] <= keeps[LAYERS])
right = layers == fewest and kept == keeps[layers] == arena() and without == keeps[0]
print("least: the fewest that keep no more" if right else f"least: {layers} layers, {kept} bytes, {keeps}")
layers, kept, without = chosen(compiled(f"budget:{keeps[3] - 1}"))
print(f"between: {layers} layers" if kept == keeps[layers] == arena() < keeps[3] else f"between: {layers} layers, {kept} bytes, {keeps}")
compiled(f"budget:{keeps[3] - 1}", more=("-o", "package", "--target-cpu=x86-64-v2"))
manifest = json.loads(pathlib.Path("package/manifest.json").read_text())
step = next(program for program in manifest["programs"] if program["name"] == "step")
same = "the arena as it was said" if step["arena_bytes"] == keeps[layers] else f"{step['arena_bytes']} bytes"
print(f"manifest: {manifest['state']['recomputed_layers']} layers, {same}")
