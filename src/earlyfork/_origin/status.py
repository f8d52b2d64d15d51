"""`status()`: what earlyfork sees of this program, as an object and as a readable page."""

from __future__ import annotations

import os
from typing import NamedTuple

from earlyfork._child.here import here
from earlyfork._ground import platform, starters
from earlyfork._ground.errors import LaunchError
from earlyfork._origin import default
from earlyfork._owner import inside, linked
from earlyfork._shared import huge
from earlyfork._shared import quick as in_c


class Entry(NamedTuple):
    """One template or process."""

    pid: int | None
    name: str
    state: str


class Status(NamedTuple):
    """What `status` returns.

    Attributes:
        early: whether an early template serves.
        reason: why there is one, or why not.
        interpreter: what would be launched if a new interpreter were needed.
        templates: the living root templates.
        processes: the living processes that were made here.
        inherited: per snapshot, what it inherited that may hurt, with advice.
        huge_pages: "yes" if a template's memory can be put into them (`Process.compact`), or "no"
            and the reason.
        part_in_c: "yes" if the part in C is used, or "no" and the reason. Without it all works, at
            less than half the rate.
    """

    early: bool
    reason: str
    interpreter: str
    templates: tuple[Entry, ...]
    processes: tuple[Entry, ...]
    inherited: tuple[str, ...]
    huge_pages: str
    part_in_c: str

    def __str__(self) -> str:
        lines = [
            f"early template: {'yes' if self.early else 'no'} ({self.reason})",
            f"would launch:   {self.interpreter}",
            f"part in C:      {self.part_in_c}",
            f"huge pages:     {self.huge_pages}",
        ]
        for title, entries in (("templates", self.templates), ("processes", self.processes)):
            lines.append(f"{title}:{'' if entries else ' none'}")
            lines += [
                f"  {entry.pid or '?':>8}  {entry.state:<12} {entry.name}" for entry in entries
            ]
        if self.inherited:
            lines.append("inherited by snapshots:")
            lines += [f"  {line}" for line in self.inherited]
        return "\n".join(lines)


def c_is_missing() -> bool:
    """Whether the part in C is not there although it could be, and nobody said to leave it out."""
    return in_c.quick is None and not platform.lacks_c and in_c.why_not != in_c.LEFT_OUT


def _part_in_c() -> str:
    if in_c.quick is not None:
        return "yes"
    if not c_is_missing():
        return f"no: {in_c.why_not if not platform.lacks_c else platform.lacks_c}"
    if "cannot import name" not in in_c.why_not:  # it is there, and says itself what it lacks
        return f"no: {in_c.why_not}"
    folder = os.path.dirname(os.path.dirname(__file__))
    try:
        others = sorted(name for name in os.listdir(folder) if name.endswith(".so"))
    except OSError:  # a zip archive, or no right to look
        others = []
    if others:
        return f"no: there is {', '.join(others)}, for another interpreter; install earlyfork again"
    return (
        "no: it was not built, since there was no compiler. Install one (Debian: gcc python3-dev), "
        "then say pip install --force-reinstall --no-cache-dir earlyfork"
    )


def status() -> Status:
    """What earlyfork sees of this program now."""
    starters.tidy()
    linked.forget_dropped()
    try:
        interpreter = str(default.choose())
    except LaunchError as error:
        interpreter = str(error)
    early = default.early_template()
    why_not = huge.missing()
    reason = default.reason()
    templates: list[Entry] = []
    processes: list[Entry] = []
    for process in sorted(inside.living(), key=lambda p: inside.watch_of(p).known_pid() or 0):
        watch = inside.watch_of(process)
        watch.refresh()
        if not watch.over:
            entry = Entry(watch.known_pid(), process.name, process.state)
            (templates if process.state == "template" else processes).append(entry)
    if here.kind and not early:
        reason += "; new processes are asked of its template" if here.can_ask else ""
    return Status(
        early is not None,
        reason,
        interpreter,
        tuple(templates),
        tuple(processes),
        default.inherited(),
        f"no: {why_not}" if why_not else "yes",
        _part_in_c(),
    )
