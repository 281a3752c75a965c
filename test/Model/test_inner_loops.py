"""Inner loops of products and attention keep their sums in registers: spilled ones cost a fifth of attention, and no result shows it."""

import pathlib
import re
import shutil
import subprocess

import pytest
import tiny_models

OBJDUMP = shutil.which("llvm-objdump-22") or "/usr/lib/llvm-22/bin/llvm-objdump"
INSTRUCTION = re.compile(r"\s*([0-9a-f]+):\s+(\S+)\s*(.*)")
PRODUCT = re.compile(r"v(fmadd|fnmadd|pdp|dpbf16)")
SPILL = re.compile(r"%zmm\d+, (0x[0-9a-f]+)?\(%rsp\)")
MANY_PRODUCTS = 24  # of a loop that fills the registers with sums
FEW_SPILLS = 4


def inner_loops(library):
    """List the innermost loops of a library, each a list of (mnemonic, operands)."""
    text = subprocess.run([OBJDUMP, "-d", "--no-show-raw-insn", str(library)], capture_output=True, text=True, check=True).stdout
    code = [(int(found[1], 16), found[2], found[3]) for found in map(INSTRUCTION.match, text.splitlines()) if found]
    at = {address: index for index, (address, _, _) in enumerate(code)}
    loops = []
    for index, (address, mnemonic, operands) in enumerate(code):
        target = re.match(r"0x([0-9a-f]+)", operands) if mnemonic.startswith("j") else None
        begin = at.get(int(target[1], 16)) if target and int(target[1], 16) <= address else None
        if begin is not None and not any(other.startswith("j") for _, other, _ in code[begin:index]):
            loops.append([(other, arguments) for _, other, arguments in code[begin : index + 1]])
    return loops


def products_of(loop):
    """Count the instructions that multiply and add."""
    return sum(bool(PRODUCT.match(name)) for name, _ in loop)


def spills_of(loop):
    """Count the vectors that go to the stack."""
    return sum(name.startswith("vmov") and bool(SPILL.match(operands)) for name, operands in loop)


@pytest.fixture(scope="session")
def wide_heads(tmp_path_factory):
    """The checkpoint of a small decoder with heads of 64."""
    folder = tmp_path_factory.mktemp("wide-heads")
    sizes = {"hidden_size": 192, "num_attention_heads": 3, "num_key_value_heads": 1, "intermediate_size": 384}
    tiny_models.make_model("llama", folder, **sizes)
    return folder


@pytest.mark.parametrize("level", ["x86-64-v4", "x86-64-v4-fp16"])
@pytest.mark.parametrize("options", [{}, {"quantize": "int8", "activations": "int8"}, {"weights": "bf16"}], ids=["f32", "int8", "bf16"])
def test_sums_stay_in_registers(compiled, wide_heads, level, options):
    package = pathlib.Path(compiled(wide_heads, target_cpu=level, **options))
    loops = [loop for loop in inner_loops(package / "code" / f"{level}.so") if products_of(loop) >= MANY_PRODUCTS]
    assert len(loops) >= 4
    for loop in loops:
        assert spills_of(loop) <= FEW_SPILLS, "\n".join(f"{name} {operands}" for name, operands in loop)
