"""The command line: run a program with an early template, or see whether all is well."""

from __future__ import annotations

import argparse
import importlib.util
import os
import runpy
import sys

import earlyfork


def main() -> int:
    """Parse the command line and do what it says."""
    parser = argparse.ArgumentParser(
        prog="python -m earlyfork", description="A new, clean Python process in no time."
    )
    parser.add_argument("--version", action="version", version=f"earlyfork {earlyfork.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    run = commands.add_parser(
        "run",
        help="run a program that was not written for earlyfork with an early template",
        usage="%(prog)s [-h] (SCRIPT | -m MODULE) [ARG ...]",
    )
    run.add_argument("-m", dest="module", action="store_true", help="run a module, by its name")
    run.add_argument("target", metavar="SCRIPT or MODULE", help="what to run")
    run.add_argument("args", nargs=argparse.REMAINDER, metavar="ARG", help="its own arguments")
    doctor = commands.add_parser(
        "doctor",
        help="say whether and from what processes can be made here",
        description="Launches one process to see whether that works. "
        "Exit status: 0 healthy, 1 degraded, 2 broken.",
    )
    doctor.add_argument("--json", action="store_true", help="for machines: one JSON object")
    doctor.add_argument(
        "--timeout", type=float, default=10.0, metavar="S", help="seconds a launch may take (10)"
    )
    options = parser.parse_args()
    if options.command == "doctor":
        return _doctor(options)
    return _run(options.target, options.args, module=options.module)


def _doctor(options: argparse.Namespace) -> int:
    from earlyfork import doctor

    report = doctor.report(timeout=options.timeout)
    print(report.as_json() if options.json else report)
    return report.health


def _run(target: str, args: list[str], *, module: bool) -> int:
    """Run a script or module as Python would, with its folder on the path instead of ours."""
    sys.argv[:] = [target, *args]
    if module:
        sys.path[0] = os.getcwd()
        problem = _not_a_module(target)
        if problem:
            sys.exit(f"{sys.executable}: {problem}")
        runpy.run_module(target, run_name="__main__", alter_sys=True)
        return 0
    if not os.path.exists(target):
        print(f"{sys.executable}: can't open file {os.path.abspath(target)!r}", file=sys.stderr)
        return 2
    sys.path[0] = os.path.dirname(os.path.abspath(target))
    runpy.run_path(target, run_name="__main__")
    return 0


def _not_a_module(name: str) -> str:
    """Why `python -m` would refuse this name, in its words; empty if it would not."""
    try:
        spec = importlib.util.find_spec(name)
        if spec is None:
            return f"No module named {name}"
        package = spec.submodule_search_locations is not None
        if package and importlib.util.find_spec(f"{name}.__main__") is None:
            return (
                f"No module named {name}.__main__; {name!r} is a package and cannot be directly "
                "executed"
            )
    except (AttributeError, ImportError, TypeError, ValueError) as error:
        what = type(error).__name__
        return f"Error while finding module specification for {name!r} ({what}: {error})"
    return ""


if __name__ == "__main__":
    sys.exit(main())
