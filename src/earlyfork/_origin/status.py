"""`status()`: what earlyfork sees of this program, as an object and as a readable page."""

from __future__ import annotations

from typing import NamedTuple

from earlyfork._child.here import here
from earlyfork._ground import starters
from earlyfork._ground.errors import LaunchError
from earlyfork._origin import default
from earlyfork._owner import inside, linked
from earlyfork._shared import huge


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
    """

    early: bool
    reason: str
    interpreter: str
    templates: tuple[Entry, ...]
    processes: tuple[Entry, ...]
    inherited: tuple[str, ...]
    huge_pages: str

    def __str__(self) -> str:
        lines = [
            f"early template: {'yes' if self.early else 'no'} ({self.reason})",
            f"would launch:   {self.interpreter}",
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
    )
