"""What a page holds, and how it is written: as text, and as JSON."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

HEADS = (
    "PID",
    "WHAT",
    "STATE",
    "AGE",
    "CPU",
    "PRIVATE",
    "SHARED",
    "DONE",
    "WAITING",
    "RUNS",
    "FOR",
)
#: The columns that stand to the left; the others are numbers.
LEFT = {"WHAT", "STATE", "RUNS"}
#: Of these kinds, more than so many in a row under one template are one line.
CROWD = 8


class Row(NamedTuple):
    """One process.

    Attributes:
        pid: of the process.
        parent: the pid of its parent.
        depth: how many processes lie between it and its program, plus one; 0: the program.
        kind: program, template, standby, prepared, worker, or child (of a worker).
        name: what it calls itself.
        state: as `ps` has it: R runs, S waits, D waits for a disk, T is stopped, Z is dead.
        seconds: since its start.
        cpu: seconds of all CPUs that it has used.
        private: bytes of memory that are its own; None if that can't be read.
        shared: bytes that it shares with others.
        pss: its fair share of all memory, in bytes.
        runs: the function that it runs; empty if none does, or it can't be told.
        runs_for: seconds since that began; None if it can't be told.
        done: how many calls it has answered; None if its calls are not visible.
        waiting: how many calls wait for it.
    """

    pid: int
    parent: int
    depth: int
    kind: str
    name: str
    state: str
    seconds: float
    cpu: float
    private: int | None
    shared: int | None
    pss: int | None
    runs: str
    runs_for: float | None
    done: int | None
    waiting: int | None


class Program(NamedTuple):
    """A program with what was made for it. The first row is the program itself."""

    pid: int
    command: str
    rows: tuple[Row, ...]


class Page(NamedTuple):
    """What `look` found: programs, and what could not be seen, in words."""

    programs: tuple[Program, ...]
    problems: tuple[str, ...]

    def as_json(self, indent: int | None = 2) -> str:
        """For machines: one object, its fields as in these classes; on one line with None."""
        programs = [
            {"pid": one.pid, "command": one.command, "rows": [row._asdict() for row in one.rows]}
            for one in self.programs
        ]
        return json.dumps({"programs": programs, "problems": self.problems}, indent=indent)

    def __str__(self) -> str:
        return text(self)


def text(page: Page) -> str:
    """A page as plain text."""
    lines: list[str] = []
    for program in page.programs:
        found = [HEADS, *(cells for _, cells in lines_of(program))]
        widths = [max(map(len, column)) for column in zip(*found, strict=True)]
        lines.append(program.command)
        for cells in found:
            placed = (
                cell.ljust(width) if head in LEFT else cell.rjust(width)
                for head, cell, width in zip(HEADS, cells, widths, strict=True)
            )
            lines.append("  ".join(placed).rstrip())
        lines.append("")
    return "\n".join([*lines, *ends(page)])


def ends(page: Page) -> list[str]:
    """The last lines of a page."""
    if page.problems:
        return list(page.problems)
    return [] if page.programs else ["no program of yours has a template of earlyfork's"]


def lines_of(program: Program) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The kind and the cells of each line. A crowd of children of a worker is one line."""
    beside = 0
    for row in program.rows:
        beside = beside + 1 if row.kind == "child" else 0
        if beside <= CROWD:
            yield row.kind, _cells(row)
        elif beside == CROWD + 1:
            yield row.kind, ("", "  " * row.depth + "... and more", *[""] * (len(HEADS) - 2))


def _cells(row: Row) -> tuple[str, ...]:
    what = row.kind
    if row.kind in ("child", "program"):
        what = row.name
    idle = row.kind == "worker" and row.done is not None and row.runs_for is None
    return (
        str(row.pid),
        "  " * row.depth + what,
        row.state,
        _time(row.seconds),
        _time(row.cpu),
        _size(row.private),
        _size(row.shared),
        "" if row.done is None else str(row.done),
        "" if row.waiting is None else str(row.waiting),
        "(waits for calls)" if idle else row.runs,
        "" if row.runs_for is None else _time(row.runs_for),
    )


def _time(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f}s"
    minutes, whole = divmod(int(seconds), 60)
    if minutes < 60:
        return f"{minutes}m{whole:02}s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02}m" if hours < 48 else f"{hours // 24}d{hours % 24:02}h"


def _size(number: int | None) -> str:
    if number is None:
        return "?"
    if number < 10 << 20:
        return f"{number >> 10}K"
    return f"{number >> 20}M" if number < 10 << 30 else f"{number >> 30}G"
