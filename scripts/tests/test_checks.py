"""Each check passes on a small sound checkout and names what was planted in it."""

import pathlib
import subprocess
import sys

import pytest

SCRIPTS = pathlib.Path(__file__).resolve().parent.parent

SOUND = {
    "dialects/DS/DSOps.td": """
def DS_RmsNormOp : DS_Op<"rms_norm", [Pure]> {
  let description = [{
    ```mlir
    %y = ds.rms_norm %x, %g : tensor<8xf32>
    ```
  }];
}
""",
    "include/ds/Transforms/Passes.td": """
def FuseQKV : Pass<"ds-fuse-qkv"> {
  let options = [Option<"maxRows", "max-rows", "int64_t", "8", "rows">];
}
def ConvertDSToPlan : Pass<"convert-ds-to-plan"> {}
""",
    "lib/Transforms/FuseQKV.cpp": '#define GEN_PASS_DEF_FUSEQKV\n#include "ds/Transforms/Passes.h"\nx.category("ds-fuse-qkv");\n',
    "lib/Transforms/ConvertDSToPlan.cpp": "#define GEN_PASS_DEF_CONVERTDSTOPLAN\n",
    "lib/Transforms/CMakeLists.txt": "add_ds_library(DSTransforms\n  FuseQKV.cpp # not MLIR\n  LINK_LIBS DSDialect)\n",
    "lib/Import/Formats/Gguf.cpp": '#include "ds/Import/Formats/Gguf.h"\n#include "llvm/Support/Error.h"\n',
    "include/ds/Import/Result.h": '#include "mlir/IR/Types.h"\n',
    "runtime/src/Load.cpp": '#include "dsrt/package.h"\n#include <vector>\n',
    "tools/ds-opt/ds-opt.cpp": '#include "dialects/DS/DSDialect.h"\n#include "mlir/IR/MLIRContext.h"\n',
    "tools/ds-run/ds-run.cpp": '#include "dsrt/dsrt.h"\n',
    "test/Transforms/fuse-qkv.mlir": (
        '// RUN: ds-opt --ds-fuse-qkv="max-rows=4" %s\n// CHECK: %y = ds.rms_norm   %x, %g : tensor<8xf32>\n'
    ),
    "test/Transforms/convert-ds-to-plan.mlir": "// RUN: ds-opt --convert-ds-to-plan %s\n",
}


@pytest.fixture
def checkout(tmp_path):
    """Write the sound checkout and return a function that plants files in it and runs one check."""

    def run(check, planted=()):
        for name, text in {**SOUND, **dict(planted)}.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        command = [sys.executable, str(SCRIPTS / f"check_{check}.py"), "--root", str(tmp_path)]
        result = subprocess.run(command, capture_output=True, text=True)
        assert not result.stderr
        return result.returncode, result.stdout

    return run


@pytest.mark.parametrize("check", ["examples", "layers", "names", "size", "words"])
def test_sound_checkout_passes(checkout, check):
    assert checkout(check) == (0, "")


VIOLATIONS = [
    ("examples", "dialects/DS/X.td", "```mlir\n%z = ds.add %x, %y : f32\n```", "X.td:2: no test holds: %z = ds.add %x, %y : f32"),
    ("layers", "runtime/src/Load.cpp", '#include "ds/Import/Import.h"\n', "Load.cpp:1: may not include ds/Import/Import.h"),
    ("layers", "runtime/src/Load.cpp", "#include <llvm/ADT/Twine.h>\n", "may not include llvm/ADT/Twine.h"),
    ("layers", "runtime/src/Load.cpp", '#include "../../lib/Import/Formats/Gguf.cpp"\n', "may not include ../../lib/Import"),
    ("layers", "dialects/DS/DS.cpp", '#include "ds/Transforms/Passes.h"\n', "may not include ds/Transforms/Passes.h"),
    ("layers", "lib/Import/Formats/Json.cpp", '\n#include "mlir/IR/Types.h"\n', "Json.cpp:2: may not include mlir/IR/Types.h"),
    ("layers", "include/ds/Import/Formats/Json.h", '#include "dialects/DS/DS.h"\n', "may not include dialects/DS/DS.h"),
    (
        "layers",
        "include/ds/Import/Formats/Gguf.h",
        '#include "ds/Import/Result.h"\n',
        "reaches mlir/IR/Types.h through include/ds/Import/Result.h",
    ),
    ("layers", "lib/Target/Target.cpp", '#include "dsrt/dsrt.h"\n', "may not include dsrt/dsrt.h"),
    ("layers", "lib/Import/Config.cpp", '#include "llvm/Support/JSON.h"\n', "expected nlohmann/json.hpp"),
    ("layers", "tools/ds-run/ds-run.cpp", '#include "mlir/IR/Types.h"\n', "may not include mlir/IR/Types.h"),
    ("layers", "tools/ds-run/ds-run.cpp", '#include "ds/Import/Import.h"\n', "may not include ds/Import/Import.h"),
    ("layers", "tools/ds-opt/CMakeLists.txt", "target_link_libraries(ds-opt MLIROptLib)\n", "names MLIROptLib"),
    ("names", "dialects/DS/X.td", 'def DS_RopeOp : DS_Op<"rotary"> {}\n', "op 'rotary' is DS_RopeOp, expected it to end in _RotaryOp"),
    ("names", "include/ds/A/Passes.td", 'def Fold : Pass<"fold"> {}\n', "has the flag 'fold', expected 'ds-fold'"),
    ("names", "include/ds/A/Passes.td", 'def Fold : Pass<"ds-fold"> {}\n', "lacks lib/A/Fold.cpp"),
    ("names", "include/ds/A/Passes.td", 'def Fold : Pass<"ds-fold"> {}\n', "lacks test/A/fold.mlir"),
    ("names", "include/ds/A/Passes.td", 'def FuseQKV : Pass<"ds-fuse-qkv"> {}\n', "is also that of FuseQKV"),
    ("names", "lib/Transforms/FuseQKV.cpp", "nothing\n", "does not define pass FuseQKV"),
    ("names", "lib/Transforms/FuseQKV.cpp", 'GEN_PASS_DEF_FUSEQKV .category("qkv")\n', "remark category 'qkv'"),
    ("names", "test/Transforms/fuse-qkv.mlir", "// RUN: ds-opt --ds-fuse-qkv %s\n", "no RUN line sets option 'max-rows'"),
    ("names", "test/Transforms/fuse-qkv.mlir", "// nothing\n", "no RUN line has '--ds-fuse-qkv'"),
    ("size", "lib/Long.cpp", "\n" * 801, "lib/Long.cpp: 801 lines, expected at most 800"),
    ("size", "lib/Wide.cpp", "\n//" + " " * 139 + "\n", "lib/Wide.cpp:2: 141 characters, expected at most 140"),
    ("words", "lib/String_utils.cpp", "", "'String_utils.cpp' does not say what it holds"),
    ("words", "lib/common/Shape.cpp", "", "'common' does not say what it holds"),
    ("words", "lib/Shape.cpp", "namesp" + "ace ds::helpers {\n", "the namespace's name does not say"),
    ("words", "docs/a.md", "see /ho" + "me/someone/notes\n", "machine path: '/ho" + "me/someone"),
    ("words", "docs/a.md", "\nas Cl" + "aude said\n", "docs/a.md:2: writing tool: 'Cl" + "aude'"),
    ("words", "docs/a.md", "made by an A" + "I assistant\n", "writing tool"),
    ("words", "docs/a.md", "pip --inde" + "x-url x\n", "package registry or mirror"),
    ("words", "lib/Shape.cpp", "// TO" + "DO: all of it\n", "open end: 'TO" + "DO'"),
]


@pytest.mark.parametrize(("check", "name", "text", "finding"), VIOLATIONS)
def test_planted_violation_is_named(checkout, check, name, text, finding):
    status, output = checkout(check, {name: text})
    assert status == 1
    assert finding in output


def test_long_file_is_a_warning(checkout):
    status, output = checkout("size", {"lib/Long.cpp": "\n" * 401})
    assert (status, output) == (0, "warning: lib/Long.cpp: 401 lines, more than 400\n")


def test_ignored_files_are_not_read(checkout, tmp_path):
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    planted = {".gitignore": "/dist/\n", "dist/utils.py": ""}
    assert checkout("words", planted) == (0, "")


DIALECT = """
include "mlir/IR/OpBase.td"
def Toy_Dialect : Dialect {
  let name = "toy";
  let summary = "%s";
  let cppNamespace = "::toy";
}
def Toy_NopOp : Op<Toy_Dialect, "nop"> {
  let summary = "does nothing";
  let assemblyFormat = "attr-dict";
}
"""


def regen_docs(root, *arguments):
    command = [sys.executable, str(SCRIPTS / "regen_docs"), "--root", str(root), *arguments]
    return subprocess.run(command, capture_output=True, text=True)


def test_generated_docs_follow_the_td_files(tmp_path):
    td = tmp_path / "dialects" / "Toy" / "ToyOps.td"
    td.parent.mkdir(parents=True)
    td.write_text(DIALECT % "first words")
    missing = regen_docs(tmp_path, "--check")
    assert missing.returncode == 1
    assert "1 pages differ" in missing.stderr
    assert regen_docs(tmp_path).returncode == 0
    assert "_Does nothing_" in (tmp_path / "docs/generated/Toy.md").read_text()
    assert regen_docs(tmp_path, "--check").returncode == 0
    td.write_text(DIALECT % "other words")
    changed = regen_docs(tmp_path, "--check")
    assert changed.returncode == 1
    assert "+_Other words_" in changed.stdout
    (tmp_path / "docs/generated/Gone.md").write_text("a page without a source\n")
    assert "2 pages differ" in regen_docs(tmp_path, "--check").stderr


def test_generated_docs_need_a_root_file(tmp_path):
    (tmp_path / "dialects" / "Toy").mkdir(parents=True)
    (tmp_path / "dialects" / "Toy" / "Wrong.td").write_text(DIALECT % "words")
    result = regen_docs(tmp_path)
    assert result.returncode == 1
    assert "dialects/Toy: expected ToyOps.td" in result.stderr
