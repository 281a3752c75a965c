"""What the test tools wrote in their machine-readable formats, as one list of results."""

import dataclasses
import json
import xml.etree.ElementTree

PASSED, FAILED, SKIPPED = "passed", "failed", "skipped"


@dataclasses.dataclass(frozen=True)
class Result:
    """One test: its suite, its name, passed, failed or skipped, and where to read more."""

    suite: str
    name: str
    outcome: str
    detail: str = ""


def read_lit(path):
    """Read `lit --output`. An expected failure passes; UNSUPPORTED is skipped; all else but PASS fails."""
    outcomes = {"PASS": PASSED, "FLAKYPASS": PASSED, "XFAIL": PASSED, "UNSUPPORTED": SKIPPED}
    tests = json.loads(path.read_text())["tests"]
    return [Result("lit", test["name"], outcomes.get(test["code"], FAILED), test["code"]) for test in tests]


def read_junit(path, suite):
    """Read the JUnit XML of pytest or ctest."""
    results = []
    for case in xml.etree.ElementTree.parse(path).getroot().iter("testcase"):
        children = {child.tag for child in case}
        outcome = PASSED
        if children & {"failure", "error"} or case.get("status") in {"fail", "notrun"}:
            outcome = FAILED
        elif "skipped" in children or case.get("status") == "disabled":
            outcome = SKIPPED
        name = "::".join(part for part in (case.get("classname"), case.get("name")) if part)
        reason = next((child.get("message") or "" for child in case if child.tag in {"failure", "error", "skipped"}), "")
        results.append(Result(suite, name, outcome, excerpt(reason)))
    return results


def excerpt(reason):
    """Shorten a reason to its first line and its last four: what a program writes before it ends badly stands at its end."""
    lines = [line[:200] for line in reason.splitlines() if line.strip()]
    return "\n    ".join(lines if len(lines) <= 5 else [lines[0], "...", *lines[-4:]])


def read_gtest(path):
    """Read `--gtest_output=json`."""
    results = []
    for suite in json.loads(path.read_text()).get("testsuites", []):
        for case in suite.get("testsuite", []):
            outcome = PASSED
            if case.get("failures"):
                outcome = FAILED
            elif case.get("status") == "NOTRUN" or case.get("result") in {"SKIPPED", "SUPPRESSED"}:
                outcome = SKIPPED
            results.append(Result("gtest", f"{suite['name']}.{case['name']}", outcome))
    return results


def read_ctest(path, gtest_folder):
    """Read ctest's JUnit XML; an executable that left gtest's JSON counts by its cases, any other test as one.

    A GoogleTest executable that failed without a failed case, as on a crash, counts as one failure more.
    """
    results = []
    for test in read_junit(path, "ctest"):
        name = test.name.split("::")[-1]
        details = gtest_folder / f"{name}.json"
        if not details.is_file():
            results.append(Result("ctest", name, test.outcome, test.detail))
            continue
        cases = [dataclasses.replace(case, name=f"{name}: {case.name}") for case in read_gtest(details)]
        results += cases
        if test.outcome == FAILED and not any(case.outcome == FAILED for case in cases):
            results.append(Result("ctest", name, FAILED, "ended badly after its last case"))
    return results


def summarize(results, log_folder):
    """Return the report: one line per suite, every failed and skipped test by name, the sum as the last line."""
    lines = []
    for suite in dict.fromkeys(result.suite for result in results):
        counts = {outcome: sum(r.suite == suite and r.outcome == outcome for r in results) for outcome in (PASSED, FAILED, SKIPPED)}
        lines.append(f"{suite:<8} " + ", ".join(f"{count} {outcome}" for outcome, count in counts.items() if count))
    for outcome in (SKIPPED, FAILED):
        for result in results:
            if result.outcome == outcome:
                lines.append(f"{outcome.upper()}: {result.suite}: {result.name}" + (f" ({result.detail})" if result.detail else ""))
    failed = sum(result.outcome == FAILED for result in results)
    if failed:
        lines.append(f"logs: {log_folder}")
    lines.append(f"{sum(result.outcome == PASSED for result in results)} passed, {failed} failed")
    return "\n".join(lines)
