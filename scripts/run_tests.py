"""Builds the project, runs every suite and prints the sum. scripts/test calls it once scripts/deps has run."""

import argparse
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import source_tree
from test_report import FAILED, PASSED, Result, read_ctest, read_junit, read_lit, summarize

ROOT = source_tree.ROOT
LOGS = ROOT / "build" / "logs"
RELEASE = ROOT / "build" / "release"
ASAN = ROOT / "build" / "asan"
FUZZ = ROOT / "test" / "Fuzz"
CHECKS = ("names", "examples", "layers", "size", "words")
CLANG_FORMAT = "clang-format-22"


def environment(more):
    """Return the environment of all tests: our tools and Python package first, nothing from the network."""
    values = dict(os.environ)
    values["PATH"] = os.pathsep.join([str(RELEASE / "bin"), str(pathlib.Path(sys.executable).parent), values["PATH"]])
    values["PYTHONPATH"] = str(RELEASE / "python")
    values["DS_BIN"] = str(RELEASE / "bin")
    values["VIRTUAL_ENV"] = sys.prefix  # where programs of NVIDIA's toolkit are looked for, should the machine have none
    values["HF_HUB_OFFLINE"] = values["TRANSFORMERS_OFFLINE"] = "1"
    return {**values, **more}


def call(command, log, timeout=1800, **variables):
    """Run a command, its output in build/logs/<log>.log, and return its exit status: 124 for too long, 127 for not found."""
    with (LOGS / f"{log}.log").open("w") as file:
        print("+", *command, file=file, flush=True)
        try:
            environ = environment(variables)
            return subprocess.run(command, cwd=ROOT, env=environ, stdout=file, stderr=subprocess.STDOUT, timeout=timeout).returncode
        except subprocess.TimeoutExpired as error:
            print(error, file=file)
            return 124
        except OSError as error:
            print(error, file=file)
            return 127


def one(suite, name, status):
    """Return the result of a test that is one command."""
    return Result(suite, name, FAILED if status else PASSED, f"exit status {status}" if status else "")


def with_status(suite, results, status):
    """Add a failure where a tool failed or found no test at all, and no result says so."""
    if (status or not results) and not any(result.outcome == FAILED for result in results):
        return [*results, one(suite, "the suite", status or 1)]
    return results


def build(preset, log, targets=()):
    """Build a preset as far as it goes. Each target that failed is a failure with its name."""
    command = ["scripts/build", preset, "-DDS_BUILD_TESTS=ON", "--", "-k", "0", *targets]
    status = call(command, log)
    if status == 0:
        return [Result("build", preset, PASSED)]
    text = (LOGS / f"{log}.log").read_text(errors="replace")
    print(text[max(0, text.find("FAILED: ")) :][:8000])
    broken = re.findall(r"^FAILED: (?:\[code=\d+\] )?(\S+)", text, re.M)
    return [Result("build", f"{preset}: {name}", FAILED) for name in broken] or [one("build", preset, status)]


def run_build():
    """The release build, and each tool that it should have made."""
    results = build("release", "build-release")
    for folder in sorted(path.parent for path in (ROOT / "tools").glob("*/CMakeLists.txt")):
        made = (RELEASE / "bin" / folder.name).is_file()
        results.append(Result("build", folder.name, PASSED if made else FAILED, "" if made else "was not built"))
    return results


def run_checks():
    """The check scripts, the generated docs and the formatters."""
    python = sys.executable
    files = [str(path) for path in source_tree.source_files(ROOT) if path.suffix in {".c", ".cpp", ".h"} and "Inputs" not in path.parts]
    commands = {f"check_{name}": [python, f"scripts/check_{name}.py"] for name in CHECKS}
    commands["regen_docs"] = [python, "scripts/regen_docs", "--check"]
    commands["ruff_format"] = [python, "-m", "ruff", "format", "--check", ".", "scripts/regen_docs"]
    commands["ruff_check"] = [python, "-m", "ruff", "check", ".", "scripts/regen_docs"]
    commands["clang_format"] = [CLANG_FORMAT, "--dry-run", "-Werror", *files]
    results = []
    for name, command in commands.items():
        results.append(one("check", name, call(command, name)))
        if results[-1].outcome == FAILED:
            print_end(name)
    return results


def run_lit():
    """The .mlir and .test files."""
    report = LOGS / "lit.json"
    report.unlink(missing_ok=True)
    command = [
        sys.executable,
        "-c",
        "from lit.main import main; main()",
        "-v",
        "--max-time=1500",
        f"--output={report}",
        str(RELEASE / "test"),
    ]
    status = call(command, "lit")
    if status:
        print_end("lit", 60)
    return with_status("lit", read_lit(report) if report.is_file() else [], status)


def run_ctest():
    """The GoogleTest executables."""
    report, cases = LOGS / "ctest.xml", LOGS / "gtest"
    report.unlink(missing_ok=True)
    shutil.rmtree(cases, ignore_errors=True)
    cases.mkdir()
    command = ["ctest", "--test-dir", str(RELEASE), "--output-on-failure", "--no-tests=error", "--timeout", "2700", "--parallel", "2"]
    status = call([*command, "--output-junit", str(report)], "ctest", timeout=2700, GTEST_OUTPUT=f"json:{cases}/")
    if status:
        print_end("ctest", 60)
    return with_status("ctest", read_ctest(report, cases) if report.is_file() else [], status)


def run_pytest():
    """The Python tests, those of the check scripts among them, two files at a time."""
    report = LOGS / "pytest.xml"
    report.unlink(missing_ok=True)
    command = [sys.executable, "-m", "pytest", "-q", "-rs", "-n", "2", "--dist", "loadfile", f"--junit-xml={report}"]
    status = call([*command, "scripts/tests", "test"], "pytest", timeout=2700)
    if status:
        print_end("pytest", 60)
    return with_status("pytest", read_junit(report, "pytest") if report.is_file() else [], status)


def fuzz_subject(name):
    """Turn the name of a fuzz target, such as `fuzz-gguf`, into the name of its corpus, `gguf`."""
    return re.sub(r"(?i)[-_]?fuzz(?:er)?[-_]?", "", name)


def fuzz(target, seconds):
    """Run one fuzz target from its committed corpus, which stays as it is, and return its result."""
    name, corpus = target.name, FUZZ / "corpus" / fuzz_subject(target.name)
    work = LOGS / "fuzz" / name
    (work / "corpus").mkdir(parents=True)
    if not corpus.is_dir() or not any(corpus.iterdir()):
        return Result("fuzz", name, FAILED, f"no corpus at {corpus.relative_to(ROOT)}")
    limits = [f"-max_total_time={seconds}", "-timeout=10", "-rss_limit_mb=2048"] if seconds else ["-runs=0"]
    dictionary = FUZZ / f"{corpus.name}.dict"
    if dictionary.is_file():
        limits.append(f"-dict={dictionary}")
    status = call([str(target), *limits, f"-artifact_prefix={work}/", str(work / "corpus"), str(corpus)], f"fuzz-{name}")
    if status:
        print_end(f"fuzz-{name}", 40)
    return one("fuzz", name, status)


def run_fuzz():
    """The fuzz targets with sanitizers, two at a time, DS_FUZZ_SECONDS each. A corpus without a target is a failure."""
    seconds = int(os.environ.get("DS_FUZZ_SECONDS", "60"))
    results = build("asan", "build-asan", ["test/Fuzz/all"])
    shutil.rmtree(LOGS / "fuzz", ignore_errors=True)
    found = [path for folder in (ASAN / "bin", ASAN / "test") for path in folder.rglob("*") if "fuzz" in path.name.lower()]
    targets = sorted(path for path in found if path.is_file() and not path.suffix and os.access(path, os.X_OK))
    expected = {path.name for path in (FUZZ / "corpus").iterdir() if path.is_dir()} if (FUZZ / "corpus").is_dir() else set()
    missing = sorted(expected - {fuzz_subject(target.name) for target in targets})
    results += [Result("fuzz", name, FAILED, "its target was not built") for name in missing]
    if not targets and not missing:
        results.append(Result("fuzz", "the targets", FAILED, "none was built"))
    with ThreadPoolExecutor(2) as pool:
        return results + list(pool.map(lambda target: fuzz(target, seconds), targets))


def print_end(log, lines=20):
    """Print the last lines of a log."""
    for line in (LOGS / f"{log}.log").read_text(errors="replace").splitlines()[-lines:]:
        print("   ", line)


def main():
    """Run the chosen suites and exit with 1 when a test failed or none ran."""
    suites = {"build": run_build, "check": run_checks, "lit": run_lit, "ctest": run_ctest, "pytest": run_pytest, "fuzz": run_fuzz}
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default=",".join(suites), help=f"suites to run, of {', '.join(suites)} (default: all)")
    chosen = parser.parse_args().only.split(",")
    for name in chosen:
        if name not in suites:
            parser.error(f"no suite '{name}'")
    LOGS.mkdir(parents=True, exist_ok=True)
    results = []
    for name in chosen:
        start = time.monotonic()
        found = suites[name]()
        results += found
        passed = sum(result.outcome == PASSED for result in found)
        print(f"{name}: {passed} of {len(found)} passed in {time.monotonic() - start:.0f} s", flush=True)
    print(summarize(results, LOGS.relative_to(ROOT)))
    sys.exit(1 if not results or any(result.outcome == FAILED for result in results) else 0)


if __name__ == "__main__":
    main()
