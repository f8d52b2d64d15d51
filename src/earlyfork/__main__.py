"""The command line: `python -m earlyfork`, and the console script `earlyfork`.

`run` is looked for before anything is loaded that only the other commands need: every start of a
program that is run this way pays for that.
"""

import os
import sys


def main() -> int:
    """Do what the command line says; the exit status."""
    called = os.path.basename(sys.argv[0])
    prog = called if called == "earlyfork" else "python -m earlyfork"
    if sys.argv[1:2] == ["run"]:  # not by argparse: all words behind the target are the program's
        from earlyfork import _run

        return _run.run(sys.argv[2:], prog)
    from earlyfork import _commands

    return _commands.main(prog)


if __name__ == "__main__":
    sys.exit(main())
