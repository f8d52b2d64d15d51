"""The command line: run a program that was not written for earlyfork with an early template."""

from __future__ import annotations

import argparse
import os
import runpy
import sys

import earlyfork


def main() -> int:
    """Parse the command line and do what it says."""
    parser = argparse.ArgumentParser(prog="python -m earlyfork", description=earlyfork.__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser(
        "run", help="run a script or module with an early template: run [-m MODULE | SCRIPT] ARGS"
    )
    run.add_argument("-m", dest="module", action="store_true", help="the target is a module")
    run.add_argument("target", help="the script's path, or with -m the module's name")
    run.add_argument("args", nargs=argparse.REMAINDER, help="the program's own arguments")
    options = parser.parse_args()
    sys.argv[:] = [options.target, *options.args]
    # The program must find its imports as without us: the script's folder instead of ours.
    if options.module:
        sys.path[0] = os.getcwd()
        runpy.run_module(options.target, run_name="__main__", alter_sys=True)
    else:
        if not os.path.exists(options.target):
            parser.error(f"no such script: {options.target}")
        sys.path[0] = os.path.dirname(os.path.abspath(options.target))
        runpy.run_path(options.target, run_name="__main__")
    return 0


if __name__ == "__main__":
    sys.exit(main())
