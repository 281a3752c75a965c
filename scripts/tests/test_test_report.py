"""The sum of scripts/test counts what the tools report, and a tool that died counts as a failure."""

import json
import subprocess
import sys

import test_report
from test_report import FAILED, PASSED, SKIPPED, Result


def outcomes(results):
    return [(result.suite, result.name, result.outcome) for result in results]


def write(path, text):
    path.write_text(text)
    return path


def test_lit(tmp_path):
    codes = {"a": "PASS", "b": "XFAIL", "c": "XPASS", "d": "FAIL", "e": "UNSUPPORTED", "f": "UNRESOLVED", "g": "TIMEOUT"}
    report = {"tests": [{"name": f"ds :: {name}", "code": code} for name, code in codes.items()]}
    results = test_report.read_lit(write(tmp_path / "lit.json", json.dumps(report)))
    assert [result.outcome for result in results] == [PASSED, PASSED, FAILED, FAILED, SKIPPED, FAILED, FAILED]


def test_pytest(tmp_path):
    (tmp_path / "test_it.py").write_text(
        "import pytest\n"
        "def test_passes(): pass\n"
        "def test_fails(): assert 1 == 2, '\\n'.join(['warning: first', *'abcdefg', 'error: last'])\n"
        "@pytest.mark.skip(reason='no such machine')\ndef test_skips(): pass\n"
        "@pytest.fixture\ndef broken(): raise OSError('gone')\n"
        "def test_errs(broken): pass\n"
    )
    report = tmp_path / "report.xml"
    subprocess.run([sys.executable, "-m", "pytest", "-q", f"--junit-xml={report}", tmp_path], capture_output=True, cwd=tmp_path)
    results = test_report.read_junit(report, "pytest")
    assert [result.outcome for result in results] == [PASSED, FAILED, SKIPPED, FAILED]
    assert results[1].detail.splitlines()[0] == "AssertionError: warning: first"
    assert [line.strip() for line in results[1].detail.splitlines()[1:]] == ["...", "f", "g", "error: last", "assert 1 == 2"]
    assert results[2].detail == "no such machine"


CTEST = """<testsuite>
<testcase name="Good" classname="Good" status="run"/>
<testcase name="Bad" classname="Bad" status="fail"><failure message=""/></testcase>
<testcase name="Crashed" classname="Crashed" status="fail"><failure message="SEGFAULT"/></testcase>
<testcase name="Late" classname="Late" status="fail"><failure message=""/></testcase>
<testcase name="Unbuilt" classname="Unbuilt" status="notrun"><skipped message="Unable to find executable"/></testcase>
</testsuite>"""


def gtest_case(name, **more):
    return {"name": name, "status": "RUN", "result": "COMPLETED", **more}


def test_ctest_counts_cases_and_crashes(tmp_path):
    def details(name, *cases):
        (tmp_path / f"{name}.json").write_text(json.dumps({"testsuites": [{"name": "Suite", "testsuite": cases}]}))

    details("Good", gtest_case("one"), gtest_case("two"), gtest_case("off", status="NOTRUN"), gtest_case("skip", result="SKIPPED"))
    details("Bad", gtest_case("one"), gtest_case("two", failures=[{"failure": "expected 1"}]))
    details("Late", gtest_case("one"))
    results = test_report.read_ctest(write(tmp_path / "ctest.xml", CTEST), tmp_path)
    assert outcomes(results) == [
        ("gtest", "Good: Suite.one", PASSED),
        ("gtest", "Good: Suite.two", PASSED),
        ("gtest", "Good: Suite.off", SKIPPED),
        ("gtest", "Good: Suite.skip", SKIPPED),
        ("gtest", "Bad: Suite.one", PASSED),
        ("gtest", "Bad: Suite.two", FAILED),
        ("ctest", "Crashed", FAILED),
        ("gtest", "Late: Suite.one", PASSED),
        ("ctest", "Late", FAILED),
        ("ctest", "Unbuilt", FAILED),
    ]


def test_summary_names_what_failed_and_ends_with_the_sum():
    results = [
        Result("lit", "a.mlir", PASSED),
        Result("lit", "b.mlir", FAILED, "TIMEOUT"),
        Result("pytest", "c", SKIPPED, "no GPU"),
        Result("pytest", "d", PASSED),
    ]
    assert test_report.summarize(results, "build/logs").splitlines() == [
        "lit      1 passed, 1 failed",
        "pytest   1 passed, 1 skipped",
        "SKIPPED: pytest: c (no GPU)",
        "FAILED: lit: b.mlir (TIMEOUT)",
        "logs: build/logs",
        "2 passed, 1 failed",
    ]
