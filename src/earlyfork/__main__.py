"""The command line: run a program with an early template, or see whether all is well."""

from __future__ import annotations

import argparse
import io
import os
import runpy
import sys

import earlyfork
from earlyfork._shared.surroundings import fresh_main

RUN_USAGE = "python -m earlyfork run [-h] (SCRIPT | -m MODULE) [ARG ...]"


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
        usage=RUN_USAGE,
        add_help=False,
    )
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
    if sys.argv[1:2] == ["run"]:  # not by argparse: all words behind the target are the program's
        words = sys.argv[2:]
        if words[:1] in (["-h"], ["--help"]):
            print(f"usage: {RUN_USAGE}\n\nRuns a program as Python would, with an early template.")
            return 0
        if not words or (words[0].startswith("-") and words[0] != "-m") or words == ["-m"]:
            run.error("a script, or -m and a module, is needed")
        if words[0] == "-m":
            return _run_module(words[1], words[2:])
        return _run_script(words[0], words[1:])
    return _doctor(parser.parse_args())


def _doctor(options: argparse.Namespace) -> int:
    from earlyfork import doctor

    report = doctor.report(timeout=options.timeout)
    print(report.as_json() if options.json else report)
    return report.health


def _run_module(name: str, args: list[str]) -> int:
    """Run a module as `python -m` does: by the same function, which also says what is missing."""
    sys.argv[:] = ["-m", *args]
    sys.path[0] = os.getcwd()
    _replaced.append(fresh_main())
    runpy._run_module_as_main(name)  # type: ignore[attr-defined]
    return 0


def _run_script(path: str, args: list[str]) -> int:
    """Run a script as Python would: in a `__main__` that is there to the very end."""
    sys.argv[:] = [path, *args]
    if not os.path.exists(path):
        place = os.path.abspath(path)
        print(
            f"{sys.executable}: can't open file {place!r}: [Errno 2] No such file or directory",
            file=sys.stderr,
        )
        return 2
    if os.path.isdir(path) or path.endswith((".zip", ".pyz", ".pyc")):
        sys.path.pop(0)  # run_path puts the archive or folder there
        runpy.run_path(path, run_name="__main__")
        return 0
    sys.path[0] = os.path.dirname(os.path.realpath(path))
    place = os.path.abspath(path)
    with io.open_code(place) as file:
        code = compile(file.read(), place, "exec", dont_inherit=True)
    _replaced.append(fresh_main())
    namespace = sys.modules["__main__"].__dict__
    namespace["__file__"] = place
    exec(code, namespace)
    return 0


#: Our own `__main__`, kept alive: its functions are still on the stack.
_replaced: list[object] = []


if __name__ == "__main__":
    sys.exit(main())
