"""CPython's own tests of `subprocess`, with `earlyfork.command` in its place.

    python subprocess_tests.py [-v] [--slow] [TEST ...]

`subprocess.Popen` and `run` are earlyfork.command's while `test.test_subprocess` runs. EARLY says
whether there is an early template. Each test that is left out is named with its reason. The exit
status says whether all others passed.
"""

import os

if os.environ.get("EARLYFORK") != "0":
    import earlyfork

import sys
import unittest

#: Beginnings of names, and why these tests say nothing here.
LEFT_OUT: dict[str, str] = {}
#: Tests that take seconds.
SLOW: set[str] = set()


def suite_of(names: list[str]) -> unittest.TestSuite:
    from test import test_subprocess

    loader = unittest.TestLoader()
    if names:
        return loader.loadTestsFromNames(names, test_subprocess)
    return loader.loadTestsFromModule(test_subprocess)


def put_in_place() -> None:
    import subprocess

    from earlyfork import command

    subprocess.Popen = command.Popen
    subprocess.run = command.run


def flat(suite: unittest.TestSuite) -> list[unittest.TestCase]:
    found = []
    for test in suite:
        found += flat(test) if isinstance(test, unittest.TestSuite) else [test]
    return found


def main() -> int:
    options = [word for word in sys.argv[1:] if word.startswith("-")]
    names = [word for word in sys.argv[1:] if not word.startswith("-")]
    put_in_place()
    chosen = unittest.TestSuite()
    for test in flat(suite_of(names)):
        name = test.id().removeprefix("test.test_subprocess.")
        why = next((why for begin, why in LEFT_OUT.items() if name.startswith(begin)), None)
        if why is not None and not names:
            print(f"left out: {name}: {why}")
        elif name not in SLOW or "--slow" in options or names:
            chosen.addTest(test)
    result = unittest.TextTestRunner(verbosity=2 if "-v" in options else 1).run(chosen)
    return not result.wasSuccessful()


if __name__ == "__main__":
    sys.exit(main())
