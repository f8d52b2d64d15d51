"""Run the interpreter's own multiprocessing tests with the start method "earlyfork".

    python run.py [--method earlyfork] [--compare] [--python PATH ...] [--quick] [CLASS ...]

Every test class runs in an interpreter of its own, so that a hang or a crash costs one class. With
--compare forkserver runs too, and the exit status says whether earlyfork fails anything that
forkserver passes. Each test that did not pass is named with its reason.

Used by `make test-stdlib`; test_stdlib_quick.py runs the quick classes in the normal suite.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

HERE = Path(__file__).parent
#: Classes that are about the start method rather than about what is built on it, and fast.
QUICK = (
    "WithProcessesTestProcess",
    "WithProcessesTestSubclassingProcess",
    "TestStartMethod",
    "WithProcessesTestConnection",
    "WithProcessesTestFinalize",
    "TestCloseFds",
    "TestFlags",
    "TestSimpleQueue",
    "TestInvalidHandle",
    "TestStdinBadfiledescriptor",
    "TestNoForkBomb",
    "TestPoolNotLeakOnFailure",
    "MiscTestCase",
)
#: Tests that can't pass or say nothing here, each with the reason; the rest must.
EXPECTED: dict[str, str] = {
    "TestNoForkBomb.test_noforkbomb": (
        "its script does not import earlyfork.mp; and under this method a script without a guard "
        "works (tests/mp/test_main_module.py), where the test wants it to fail"
    ),
    "TestFlags.test_flags": (
        "its program names the method without importing earlyfork.mp (from 3.12 on; and runs with "
        "-S, where nothing is installed); tests/mp/test_settings.py asks the same question"
    ),
}
#: Seconds for one class.
PATIENCE = 150


class Recorder(unittest.TestResult):
    """Writes what became of each test as one line of JSON."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self.file = Path(path).open("a", buffering=1)

    def _note(self, test: object, outcome: str, reason: str = "") -> None:
        name = test.id() if hasattr(test, "id") else str(test)
        print(json.dumps([name, outcome, reason]), file=self.file)

    def startTest(self, test: unittest.TestCase) -> None:  # noqa: N802
        super().startTest(test)
        self._note(test, "hang", "it did not come to an end")

    def addSuccess(self, test: unittest.TestCase) -> None:  # noqa: N802
        self._note(test, "pass")

    def addSkip(self, test: unittest.TestCase, reason: str) -> None:  # noqa: N802
        super().addSkip(test, reason)
        self._note(test, "skip", reason)

    def addError(self, test: unittest.TestCase, err: object) -> None:  # noqa: N802
        super().addError(test, err)  # type: ignore[arg-type]
        self._note(test, "error", self.errors[-1][1])

    def addFailure(self, test: unittest.TestCase, err: object) -> None:  # noqa: N802
        super().addFailure(test, err)  # type: ignore[arg-type]
        self._note(test, "fail", self.failures[-1][1])

    def addSubTest(self, test: unittest.TestCase, subtest: unittest.TestCase, err: object) -> None:  # noqa: N802
        super().addSubTest(test, subtest, err)  # type: ignore[arg-type]
        if err is not None:
            self._note(test, "fail", (self.failures + self.errors)[-1][1])


def classes() -> list[str]:
    import suite_under_method

    found = vars(suite_under_method).items()
    return sorted(
        name
        for name, value in found
        if isinstance(value, type) and issubclass(value, unittest.TestCase)
    )


def run_class(name: str, output: str) -> None:
    """In the interpreter of its own."""
    import suite_under_method

    suite = unittest.TestLoader().loadTestsFromTestCase(getattr(suite_under_method, name))
    # A suite of a module runs setUpModule and tearDownModule around its classes.
    unittest.TestSuite([suite]).run(Recorder(output))


def run_apart(python: str, method: str, name: str) -> dict[str, tuple[str, str]]:
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder, "results")
        environment = {**os.environ, "MP_METHOD": method, "PYTHONWARNINGS": "default"}
        with Path(folder, "log").open("w+b") as log:
            process = subprocess.Popen(
                [python, str(HERE / "run.py"), "--class", name, str(output)],
                env=environment,
                stdout=log,
                stderr=log,
                cwd=folder,
                start_new_session=True,
            )
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(PATIENCE)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            log.seek(0)
            tail = log.read().decode(errors="replace")[-2000:]
        found: dict[str, tuple[str, str]] = {}
        if output.exists():
            for line in output.read_text().splitlines():
                test, outcome, reason = json.loads(line)
                test = test.replace("suite_under_method.", "")
                if outcome == "pass" and found.get(test, ("", ""))[0] == "fail":
                    continue  # a subtest failed
                found[test] = (outcome, reason)
        if process.returncode and not found:
            found[name] = ("error", tail)
        if "leaked" in tail or "Dangling" in tail:
            found[f"{name} (afterwards)"] = ("fail", tail)
        return found


def run_all(python: str, method: str, names: list[str], jobs: int) -> dict[str, tuple[str, str]]:
    results: dict[str, tuple[str, str]] = {}
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        for found in pool.map(lambda name: run_apart(python, method, name), names):
            results.update(found)
    return results


def last_line(text: str) -> str:
    lines = [line for line in text.strip().splitlines() if line.strip()]
    return lines[-1] if lines else ""


def report(python: str, results: dict[str, dict[str, tuple[str, str]]], *, verbose: bool) -> int:
    """Print it; the number of tests that earlyfork fails and forkserver passes."""
    version = subprocess.run(
        [python, "-V"], capture_output=True, text=True, check=True
    ).stdout.strip()
    worse = 0
    for method, found in results.items():
        outcomes = [outcome for outcome, _ in found.values()]
        counts = ", ".join(f"{outcomes.count(o)} {o}" for o in sorted(set(outcomes)))
        print(f"{version}, {method}: {counts}")
    ours = results["earlyfork"]
    theirs = results.get("forkserver")
    for test, (outcome, reason) in sorted(ours.items()):
        if outcome == "pass":
            continue
        there = theirs.get(test, ("not there", ""))[0] if theirs is not None else "not run"
        known = EXPECTED.get(test)
        note = f" [expected: {known}]" if known else ""
        print(f"  {outcome}: {test} (forkserver: {there}): {last_line(reason)}{note}")
        if verbose and outcome != "skip":
            print("    | " + "\n    | ".join(reason.splitlines()))
        if outcome != "skip" and not known and there not in {"fail", "error", "hang"}:
            worse += 1
    if theirs is not None:
        for test, (outcome, reason) in sorted(theirs.items()):
            if outcome not in {"pass", "skip"} and ours.get(test, ("not there",))[0] == "pass":
                print(f"  forkserver alone has {outcome}: {test}: {last_line(reason)}")
    return worse


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--class", dest="one", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--list", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--python", action="append", default=[])
    parser.add_argument("--compare", action="store_true", help="run forkserver too")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--verbose", action="store_true")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("names", nargs="*", metavar="CLASS")
    options = parser.parse_args()
    if options.one:
        run_class(*options.one)
        return 0
    if options.list:
        print("\n".join(classes()))
        return 0
    worse = 0
    for python in options.python or [sys.executable]:
        listed = subprocess.run(
            [python, str(HERE / "run.py"), "--list"],
            env={**os.environ, "MP_METHOD": "spawn"},
            capture_output=True,
            text=True,
            check=False,
        )
        if listed.returncode:
            print(f"{python}: no multiprocessing tests to run: {last_line(listed.stderr)}")
            continue
        names = options.names or listed.stdout.split()
        if options.quick:
            names = [name for name in names if name in QUICK]
        methods = ["earlyfork", "forkserver"] if options.compare else ["earlyfork"]
        results = {m: run_all(python, m, names, options.jobs) for m in methods}
        worse += report(python, results, verbose=options.verbose)
    return 1 if worse else 0


if __name__ == "__main__":
    sys.exit(main())
