"""What is there: programs, their templates, and what was forked from these.

Told apart by what they call themselves (`ef-template`, `ef-standby`, `ef-prepared`; a worker has
its function's name), by who is whose child, and by whose sockets belong together.
"""

from __future__ import annotations

import os
import pwd
import time
from typing import TYPE_CHECKING, Any

from earlyfork.top import _calls, _peers, _proc
from earlyfork.top._page import Page, Program, Row

if TYPE_CHECKING:
    from collections.abc import Iterable

KINDS = {"ef-template": "template", "ef-standby": "standby", "ef-prepared": "prepared"}


class NothingThereError(Exception):
    """Why there is nothing to see, in words."""


def look(pid: int | None = None) -> Page:
    """Look at one program, or at all programs of this user that have a template.

    Args:
        pid: of a program, or of any process that was made for it.

    Raises:
        NothingThereError: there is no such process; it is somebody else's; it has no template; or
            this system is none that can be asked.
    """
    if not os.path.isdir(f"{_proc.PROC}/self/fd"):
        raise NothingThereError("`top` reads /proc, as Linux has it, and this system has none")
    return _Look(pid).page()


class _Look:
    """One look at everything."""

    def __init__(self, pid: int | None) -> None:
        self.asked = pid
        self.problems: list[str] = []
        self.stats = _proc.all_stats()
        self.now, self.clock = _proc.now(), time.monotonic()
        self.children: dict[int, list[int]] = {}
        for one in self.stats.values():
            self.children.setdefault(one.parent, []).append(one.pid)
        #: The root template that each process descends from.
        self.root_of: dict[int, int] = {}
        self.roots = [
            one.pid
            for one in self.stats.values()
            if one.name == "ef-template" and not self._has_forker(one)
        ]
        for root in self.roots:
            self.root_of.update(dict.fromkeys(self._tree(root), root))
        self.links = {number: _proc.links(number) for number in self.stats}
        self.holders: dict[int, list[int]] = {}
        for number, links in self.links.items():
            for link in set((links or {}).values()):
                if link.startswith("socket:["):
                    self.holders.setdefault(int(link[8:-1]), []).append(number)
        try:
            self.peers = _peers.peers()
        except OSError as error:
            raise NothingThereError(
                f"this kernel does not tell which sockets belong together: {error}"
            ) from None

    def _has_forker(self, one: _proc.Stat) -> bool:
        parent = self.stats.get(one.parent)
        return parent is not None and parent.name in KINDS

    def _tree(self, pid: int) -> Iterable[int]:
        yield pid
        for child in self.children.get(pid, ()):
            yield from self._tree(child)

    # -- whose is what -------------------------------------------------------------------------

    def _sockets(self, pid: int) -> list[int]:
        links = (self.links[pid] or {}).values()
        return [int(link[8:-1]) for link in links if link.startswith("socket:[")]

    def _owner(self, root: int) -> int | None:
        """The program that a root template serves: who holds the other end of its sockets.

        Of several (the program's own forks have copies) it is the one that was there first.
        """
        found = {
            holder
            for inode in self._sockets(root)
            for holder in self.holders.get(self.peers.get(inode, 0), ())
            if self.root_of.get(holder) != root
        }
        return min(found, key=lambda pid: (self.stats[pid].started, pid), default=None)

    def page(self) -> Page:
        """All of it.

        Raises:
            NothingThereError: there is nothing to see of the process that was asked for.
        """
        owned: dict[int, list[int]] = {}
        for root in self.roots:
            owner = self._owner(root)
            if owner is not None:
                owned.setdefault(owner, []).append(root)
        if self.asked is None:
            me = os.geteuid()
            chosen = [pid for pid in owned if self.stats[pid].uid == me and pid != os.getpid()]
        else:
            chosen = [self._chosen(self.asked, owned)]
        programs = tuple(self._program(pid, owned[pid]) for pid in sorted(chosen))
        return Page(programs, tuple(self.problems))

    def _chosen(self, pid: int, owned: dict[int, list[int]]) -> int:
        one = self.stats.get(pid)
        if one is None:
            raise NothingThereError(f"there is no process {pid}")
        if pid in owned:
            return pid
        if self.links[pid] is None:
            raise NothingThereError(
                f"process {pid} is {_name(one.uid)}'s, or guards itself from being looked into: "
                f"only that user, or root, can see it (you are {_name(os.geteuid())})"
            )
        root = self.root_of.get(pid)
        for owner, roots in owned.items():
            if root in roots:
                return owner
        raise NothingThereError(f"process {pid} has no template of earlyfork's")

    # -- rows ----------------------------------------------------------------------------------

    def _program(self, pid: int, roots: list[int]) -> Program:
        order: list[tuple[int, int, str]] = [(pid, 0, "program")]
        for root in sorted(roots, key=lambda found: self.stats[found].started):
            self._add(root, 1, order)
        calls: dict[int, _calls.Calls] = {}
        for number, *_ in order:
            for one in _calls.of(number, self.links[number] or {}, self.clock):
                for worker in self.holders.get(self.peers.get(one.inode, 0), ()):
                    calls.setdefault(worker, one)
        rows = tuple(self._row(*place, calls.get(place[0])) for place in order)
        unread = sum(row.private is None and row.state != "Z" for row in rows)
        if unread:
            self.problems.append(
                f"program {pid}: {unread} of its processes have ended meanwhile, or have other "
                "rights than you: their memory can't be read"
            )
        return Program(pid, _proc.command_line(pid) or self.stats[pid].name, rows)

    def _add(self, pid: int, depth: int, order: list[tuple[int, int, str]]) -> None:
        name = self.stats[pid].name
        parent = self.stats.get(self.stats[pid].parent)
        kind = KINDS.get(name)
        if kind is None:
            kind = "worker" if parent is not None and parent.name in KINDS else "child"
        order.append((pid, depth, kind))
        for child in sorted(self.children.get(pid, ())):
            self._add(child, depth + 1, order)

    def _row(self, pid: int, depth: int, kind: str, calls: _calls.Calls | None) -> Row:
        one = self.stats[pid]
        memory = _proc.memory(pid)
        seconds = max(0.0, self.now - one.started)
        runs, runs_for, done, waiting = "", None, None, None
        if calls is not None:
            runs, runs_for = calls.runs, calls.seconds
            done = max(0, calls.sent - calls.open)
            waiting = max(0, calls.open - calls.concurrency)
        elif kind == "worker" and not one.name.startswith("earlyfork."):
            runs, runs_for = one.name, seconds
        private, shared, pss = memory or (None, None, None)
        return Row(
            pid=pid,
            parent=one.parent,
            depth=depth,
            kind=kind,
            name=one.name,
            state=one.state,
            seconds=seconds,
            cpu=one.busy,
            private=private,
            shared=shared,
            pss=pss,
            runs=runs,
            runs_for=runs_for,
            done=done,
            waiting=waiting,
        )


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"


def lived(pid: int) -> Any:
    """Something by which a process is known again, should its pid be another one's; None: gone."""
    found = _proc.stat(pid)
    return None if found is None or found.state == "Z" else found.started
