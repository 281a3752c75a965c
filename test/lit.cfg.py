"""The lit suite: every .mlir and .test file under test/, run with the tools of one build."""

import os
import pathlib
import shutil

import lit.formats

config.name = "ds"
config.test_format = lit.formats.ShTest(execute_external=False)
config.suffixes = [".mlir", ".test"]
config.excludes = ["Inputs", "Fuzz", "CMakeLists.txt"]
config.test_source_root = os.path.join(config.ds_source_dir, "test")
config.test_exec_root = os.path.join(config.ds_build_dir, "test")

config.environment["PATH"] = os.pathsep.join(
    [os.path.join(config.ds_build_dir, "bin"), config.ds_llvm_tools, os.path.dirname(config.ds_python), os.environ["PATH"]]
)
config.environment["PYTHONPATH"] = os.path.join(config.ds_build_dir, "python")
config.environment["FILECHECK_OPTS"] = "--enable-var-scope --dump-input=fail"
# Allocators of LLVM's library, which has no sanitizers, do not tell them what they hand out.
config.environment["ASAN_OPTIONS"] = "allow_user_poisoning=0:detect_leaks=0"
for name in ("ASAN_OPTIONS", "UBSAN_OPTIONS", "DS_NUM_THREADS"):
    if name in os.environ:
        config.environment[name] = os.environ[name]

config.substitutions.append(("%python", config.ds_python))
config.substitutions.append(("%unit_tests", os.path.join(config.test_exec_root, "unit")))
config.substitutions.append(("%llvm_tools", config.ds_llvm_tools))

# `REQUIRES: x86-64-v4` and the like: what the processor that runs the tests can do.
LEVELS = {
    "x86-64-v2": {"cx16", "popcnt", "sse4_2", "ssse3"},
    "x86-64-v3": {"avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "movbe"},
    "x86-64-v4": {"avx512bw", "avx512cd", "avx512dq", "avx512f", "avx512vl"},
    "x86-64-v4-vnni": {"avx512_vnni"},
    "x86-64-v4-bf16": {"avx512_bf16"},
    "x86-64-v4-fp16": {"avx512_fp16"},
}
cpuinfo = pathlib.Path("/proc/cpuinfo")
flags = set()
if cpuinfo.is_file():
    for line in cpuinfo.read_text().splitlines():
        if line.startswith("flags"):
            flags.update(line.split(":", 1)[1].split())
            break
for level, needed in LEVELS.items():
    if not needed <= flags:
        break
    config.available_features.add(level)
# Sanitizers do not run in an emulator.
if shutil.which("qemu-x86_64") and "ASAN_OPTIONS" not in os.environ:
    config.available_features.add("qemu-user")
# Programs of NVIDIA's toolkit that are not always there.
for name in ("ptxas", "nvdisasm"):
    given = os.environ.get(f"DS_{name.upper()}")
    if not given and not shutil.which(name):  # a package of the Python that runs the tests
        packages = pathlib.Path(config.ds_python).parent.parent / "lib"
        given = next((str(found) for found in packages.glob(f"python*/site-packages/nvidia/*/bin/{name}")), None)
    if given:
        config.environment[f"DS_{name.upper()}"] = given
    if given or shutil.which(name) or os.access(f"/usr/local/cuda/bin/{name}", os.X_OK):
        config.available_features.add(name)
if config.ds_compiler:
    config.available_features.add("compiler")
