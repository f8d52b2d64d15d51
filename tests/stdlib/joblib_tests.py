"""joblib's own tests of its backends, with `earlyfork.pool.joblib` in the place of loky.

    python joblib_tests.py [PYTEST_ARG ...]

The backend has loky's names while `joblib.test.test_parallel` runs. Each test that is left out is
named with its reason. The exit status says whether all others passed; it is 77 where joblib or its
tests are not installed.
"""

import earlyfork  # isort: skip - forks the early template

import importlib.util
import sys

assert earlyfork
RESTARTED = "loky's workers are restarted after an error; here the jobs are ended and workers stay"
COPIES = "arrays travel as copies, and not by files that are mapped"
WARNS = "loky warns that it does not nest; this backend does"
#: Beginnings of ids, and why they say nothing here.
LEFT_OUT = {
    "test_error_capture[loky]": RESTARTED,
    "test_multiple_generator_call_separated_gc[": RESTARTED,
    "test_auto_memmap_on_arrays_from_generator[loky]": COPIES,
    "test_memmapping_leaks[loky]": COPIES,
    "test_nested_parallel_warnings[": WARNS,
    "test_dispatch_multiprocessing[multiprocessing]": "multiprocessing's",
}


class Plugin:
    """Keeps the tests that are of loky, without those above."""

    @staticmethod
    def pytest_collection_modifyitems(config, items) -> None:  # noqa: ANN001
        kept = []
        for item in items:
            reason = next((why for name, why in LEFT_OUT.items() if item.name.startswith(name)), "")
            if reason:
                print(f"left out: {item.name}: {reason}")
            elif "loky" in item.name or "initializer" in item.name:
                kept.append(item)
        items[:] = kept
        assert config


def main() -> int:
    """Run them."""
    if not all(map(importlib.util.find_spec, ("joblib", "cloudpickle"))):
        print("joblib is not installed")
        return 77
    if importlib.util.find_spec("joblib.test.test_parallel") is None:
        print("this joblib has no tests")
        return 77
    import joblib.parallel
    import pytest

    from earlyfork.pool.joblib import _EarlyforkBackend

    class LokyBackend(_EarlyforkBackend):
        """As the tests call it."""

    joblib.parallel.BACKENDS["loky"] = joblib._parallel_backends.LokyBackend = LokyBackend
    words = ["-q", "-n", "0", "--timeout=60", "-p", "no:cacheprovider", "-W", "ignore"]
    return pytest.main(
        [*words, "--pyargs", "joblib.test.test_parallel", *sys.argv[1:]], plugins=[Plugin()]
    )


if __name__ == "__main__":
    sys.exit(main())
