"""The commands of the command line, but for `run`. A new one is one more entry in COMMANDS."""

from __future__ import annotations

import argparse
import json
import os
import sys
from typing import TYPE_CHECKING, NamedTuple

import earlyfork
from earlyfork import _run

if TYPE_CHECKING:
    from collections.abc import Callable

    from earlyfork.doctor import Report


class Command(NamedTuple):
    """One command: what it is for in a line, and in a paragraph; its options; what it does.

    What `act` returns is the exit status. It imports what it needs, and nobody else pays for that.
    """

    about: str
    description: str
    add_options: Callable[[argparse.ArgumentParser], None]
    act: Callable[[argparse.Namespace], int]


def main(prog: str) -> int:
    """Do what the command line says; the exit status."""
    parser = argparse.ArgumentParser(
        prog=prog, description="A new, clean Python process in no time."
    )
    version = f"earlyfork {earlyfork.__version__}"
    parser.add_argument("-V", "--version", action="version", version=version)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    commands.add_parser("run", help=_run.ABOUT, add_help=False)
    for name, command in COMMANDS.items():
        command.add_options(
            commands.add_parser(name, help=command.about, description=command.description)
        )
    options = parser.parse_args()
    if options.command is None:
        parser.print_help(sys.stderr)
        return 2
    try:
        status = COMMANDS[options.command].act(options)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader has seen enough (`| head`)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # the interpreter flushes once more
        return 1
    except KeyboardInterrupt:
        return 130
    return status


# -- doctor --------------------------------------------------------------------------------------


def _doctor_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="for machines: one JSON object")
    parser.add_argument(
        "--timeout", type=float, default=10.0, metavar="S", help="seconds a launch may take (10)"
    )


def _doctor(options: argparse.Namespace) -> int:
    try:
        earlyfork._settle()  # which says in a line where none can be made at all
        from earlyfork import doctor

        report = doctor.report(timeout=options.timeout)
        text = report.as_json() if options.json else str(report)
    except Exception as error:  # what a doctor is called for may fell the doctor, too
        problem = f"{type(error).__name__}: {error}"
        broken = {"health": 2, "problems": [problem]}
        page = f"earlyfork is broken here\n  ! the examination failed: {problem}"
        print(json.dumps(broken, indent=2) if options.json else page)
        return 2
    print(_coloured(text, report) if not options.json and _wants_colours() else text)
    return report.health


def _wants_colours() -> bool:
    """Whether this is a terminal that shows them, and the user has not said no (no-color.org)."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") in (None, "dumb"):
        return False
    return sys.stdout.isatty()


def _coloured(text: str, report: Report) -> str:
    """The page with verdict and problems in green, yellow or red, and bold headings."""
    colour = ("32", "33", "31")[report.health]
    lines = []
    for number, line in enumerate(text.splitlines()):
        heading, colon, rest = line.partition(":")
        if number == 0 or line.startswith("  ! "):
            lines.append(f"\x1b[{'1;' if number == 0 else ''}{colour}m{line}\x1b[0m")
        elif colon and not line.startswith(" "):
            lines.append(f"\x1b[1m{heading}:\x1b[0m{rest}")
        else:
            lines.append(line)
    return "\n".join(lines)


# -- top -----------------------------------------------------------------------------------------


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0.01 <= seconds < 1e6:
        raise argparse.ArgumentTypeError(f"a number of seconds from 0.01 on, not {text}")
    return seconds


def _top_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "pid",
        nargs="?",
        type=int,
        help="a program, or a process that was made for it (default: all programs of this user)",
    )
    parser.add_argument("--once", action="store_true", help="one page, and no more")
    parser.add_argument(
        "--json", action="store_true", help="for machines: a JSON object for each page"
    )
    parser.add_argument(
        "--interval", type=_seconds, default=1.0, metavar="S", help="seconds between pages (1)"
    )


def _top(options: argparse.Namespace) -> int:
    from earlyfork import top

    return top.main(options.pid, once=options.once, as_json=options.json, interval=options.interval)


COMMANDS = {
    "doctor": Command(
        "say whether and from what processes can be made here",
        "Launches one process to see whether that works. Exit status: 0 healthy, 1 degraded, "
        "2 broken.",
        _doctor_options,
        _doctor,
    ),
    "top": Command(
        "show what programs have: templates, standbys, workers, and what these run",
        "Shows a program's templates, standbys and workers with what they run, anew each second "
        "until Ctrl-C. From outside: the program does nothing for it. Reads /proc, so on Linux "
        "only. Exit status: 0, or 1 if there is nothing to see.",
        _top_options,
        _top,
    ),
}
