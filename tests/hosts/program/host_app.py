"""The program that tests/hosts packs in many ways: host_app ORIGIN.

With the origin `early` it begins with `import earlyfork`, as the README says; with `library` only
host_library uses earlyfork.
"""

import sys

if "early" in sys.argv:
    import earlyfork  # noqa: F401 - the import is what makes the early template

import host_library


def main() -> None:
    """What an entry point names."""
    host_library.report()


if __name__ == "__main__":
    main()
