"""CPython's own tests of `subprocess`, with `earlyfork.command` in its place.

    python subprocess_tests.py [-v] [--slow] [TEST ...]

`subprocess.Popen` and `run` are earlyfork.command's while `test.test_subprocess` runs. Each test
that is left out is named with its reason. The exit status says whether all others passed; it is 77
where the interpreter has no tests (Debian's are in libpython3-testsuite).
"""

import os

if os.environ.get("EARLYFORK") != "0":
    import earlyfork  # noqa: F401 - forks the early template

import importlib.util
import sys
import unittest

PREEXEC = "preexec_fn can't be passed on; tests/test_command.py asks the same of prepare="
PARENT = "it signals or waits as the command's parent, which is the template"
INSIDE = "it looks at how subprocess itself makes the process"
#: Methods, and why they say nothing here.
LEFT_OUT = {
    "test_preexec": PREEXEC,
    "test_preexec_exception": PREEXEC,
    "test_preexec_gc_module_failure": PREEXEC,
    "test_preexec_fork_failure": PREEXEC,
    "test_preexec_errpipe_does_not_double_close_pipes": PREEXEC,
    "test_close_fds_after_preexec": PREEXEC,
    "test_surrogates_error_message": PREEXEC,
    "test_restore_signals": "a command always has the defaults of all signals",
    "test_communicate_eintr": PARENT,
    "test_stopped": PARENT,
    "test_send_signal_race": PARENT,
    "test_send_signal_race2": PARENT,
    "test_zombie_fast_process_del": "there are no zombies, so nothing is kept in subprocess._active",
    "test_leak_fast_process_del_killed": "as test_zombie_fast_process_del",
    "test__use_vfork": INSIDE,
    "test_exception_errpipe_normal": INSIDE,
    "test_exception_errpipe_bad_data": INSIDE,
    "test_run_keyboardinterrupt_no_kill": "command.run makes its own Popen, not a patched one",
}
#: Methods that take seconds, and a class that repeats another one where `select.poll` is missing.
SLOW = {
    "ProcessTestCaseNoPoll",
    "test_check_output_timeout",
    "test_communicate_repeated_call_after_stdout_close",
    "test_communicate_timeout",
    "test_communicate_timeout_large_output",
    "test_kill_dead",
    "test_leaking_fds_on_error",
    "test_send_signal_dead",
    "test_swap_std_fds_with_one_closed",
    "test_terminate_dead",
}


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
    if importlib.util.find_spec("test.test_subprocess") is None:
        print("this interpreter has no tests")
        return 77
    left_out: dict[str, str] = {}
    chosen = unittest.TestSuite()
    for test in flat(suite_of(names)):
        name = test.id().rpartition(".")[2]
        why = LEFT_OUT.get(name)
        if why is not None and not names:
            left_out[name] = why
        elif not {name, type(test).__name__} & SLOW or "--slow" in options or names:
            chosen.addTest(test)
    for name, why in left_out.items():
        print(f"left out: {name}: {why}")
    result = unittest.TextTestRunner(verbosity=2 if "-v" in options else 1).run(chosen)
    return not result.wasSuccessful()


if __name__ == "__main__":
    sys.exit(main())
