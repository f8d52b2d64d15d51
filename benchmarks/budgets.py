"""What earlyfork promises (must), what it is after (goal), and how a figure is read.

R is `os.fork()`, `os._exit()` and `waitpid()` with a socketpair made, one after another, in a bare
`python3 -I -S`: the least that a process in Python can cost on the machine at hand.
"""

from __future__ import annotations

from typing import NamedTuple

#: A must and a goal; None where there is none.
Limits = tuple[float | None, float | None]


class Budget(NamedTuple):
    """One line of the table.

    Attributes:
        key: its name in the results.
        title: its name in the table.
        must, goal: limits; None for lines that are there for information.
        at_least: whether more is better.
        unit: of the absolute value, a key of SCALE.
        measure: "x" for a ratio, else the unit in which the limits are.
    """

    key: str
    title: str
    must: float | None = None
    goal: float | None = None
    at_least: bool = False
    unit: str = "us"
    measure: str = "x"


class Load(NamedTuple):
    """What is asked of a template on the road: three figures, each with its must and its goal.

    Attributes:
        carry: its name, in probes/road.py as well.
        title: its name in the table.
        first: first byte / R, both asked every 4 ms.
        rate: create, exit seen, one after another: rate / R's.
        aef: the same / AnyEvent::Fork's with the same arguments. None where it has no such thing.
        imports: whether the process imports something: R is measured with that, too.
    """

    carry: str
    title: str
    first: Limits = (None, None)
    rate: Limits = (None, None)
    aef: Limits | None = (None, None)
    imports: bool = False

    def budgets(self) -> list[Budget]:
        """Its lines of the table."""
        carry, title = self.carry, self.title
        lines = [
            Budget(f"{carry}: first", f"{title}: first byte / R", *self.first),
            Budget(f"{carry}: rate", f"{title}: rate / R", *self.rate, True, "/s"),
        ]
        if self.imports:
            theirs, ours = "os.fork() that imports the same: rate / R", "rate / that of os.fork()"
            lines += [
                Budget(f"{carry}: import, R", f"{title}: {theirs}", at_least=True, unit="/s"),
                Budget(f"{carry}: rate, R", f"{title}: {ours}", at_least=True, unit="/s"),
            ]
        if self.aef is not None:
            text = f"{title}: rate / AEF"
            lines.append(Budget(f"{carry}: rate, AEF", text, *self.aef, True, "/s"))
        return lines


SCALE = {"us": 1e6, "ms": 1e3, "MB": 1e-6, "/s": 1.0}

#: A template with one small module, or as said.
ROAD = (
    Load("nothing", "nothing sent", (0.9, 0.3), (0.95, 1.1), (1.0, 1.3)),
    Load("bytes", 'send_arg(b"y")', (1.3, 0.6), (0.85, 1.0), (1.0, 1.3)),
    Load("int", "send_arg(1)", (1.3, 0.6), (0.85, 1.0), (1.0, 1.3)),
    Load("mixed", "int, dict, None, tuple", (1.3, 0.6), (0.85, 1.0), (1.0, 1.3)),
    Load("pickled", "Ellipsis, range, enum member", (1.7, 1.0), (0.7, 0.9), None),
    Load("socket", "send_fh(sock)", (1.3, 0.6), (0.85, 1.0), (1.0, 1.3)),
    Load("linked", "linked=True", aef=None),
    Load("prefork", "socket, int, linked=True", (1.5, 0.8), (0.7, 0.95)),
    Load("module", 'new().run("module.f")', (2.0, 1.3), (0.7, 0.9), imports=True),
    Load("require", 'new().require("a", "b").run("a.f")', (3.0, 2.0), (0.5, None), imports=True),
    Load("buffer", "template of 1 GB in one buffer, compact()", (2.0, 1.2), (0.4, 0.9)),
    Load("objects", "template of 400 MB in objects, compact()", (4.0, 2.0), (0.15, 0.4)),
)

BUDGETS = (
    Budget("first", "first byte, new().run(f), standby / R", 0.5, 0.25),
    Budget("first fork()", "first byte, fork().run(f), standby / R", 0.5, 0.25),
    Budget("first, none", "first byte, no standby / R", 2.0, 1.3),
    Budget("blocked", "caller blocked in new().run(f) / R's fork()", 0.45, 0.25),
    Budget("rate", "create, exit seen, one after another: rate / R", 0.8, 1.0, True, "/s"),
    Budget("rate, AEF", "the same / AnyEvent::Fork's new", 1.0, 1.3, True, "/s"),
    Budget("flight", "the same, 16 in flight / sequential R", 1.0, 1.5, True, "/s"),
    Budget("rate, 2 GB", "rate from a parent of 2 GB / small parent", 0.9, 1.0, True, "/s"),
    Budget("first, 2 GB", "first byte from a parent of 2 GB / small", 1.1, 1.0),
    Budget("rate, 200 MB", "rate from a parent of 200 MB / small parent", 0.9, 1.0, True, "/s"),
    Budget("launch", "new_exec() to first byte / python3 -c pass", 1.4, 1.15, unit="ms"),
    Budget(
        "import", "import earlyfork as the first line, fork included", 2.5, 1.5, False, "ms", "ms"
    ),
    Budget("memory", "private memory of an idle worker", 0.8, 0.6, False, "MB", "MB"),
    Budget("scale", "cost per creation, most live workers / 10", 1.5, 1.1),
    *(line for load in ROAD for line in load.budgets()),
    Budget("memory, int", "private memory, idle, sent an int", 0.9, 0.5, False, "MB", "MB"),
    # For information.
    Budget("burst", "16 at once after 1 s of silence: first byte of all / R"),
    Budget("no pause", "first byte, one after another without pause / R"),
    Budget("4 ms", "first byte, one every 4 ms / R"),
    Budget("1 s", "first byte, one a second / R"),
    Budget("first, 200 MB", "first byte from a parent of 200 MB / small"),
    Budget("first, burst", "first byte, standby, no pause between / R"),
    Budget("first, hot R", "first byte, standby, every ms / R without pauses"),
    Budget("blocked, hot R", "caller blocked, every ms / R's fork() without pauses"),
    Budget("blocked, none", "caller blocked, no standby / R's fork()"),
    Budget("rate, none", "rate without standby / R", at_least=True, unit="/s"),
    Budget("scale, R", "cost per os.fork(), most live children / 10"),
    Budget("flight, fork", "os.fork(), 16 in flight / sequential R", at_least=True, unit="/s"),
)


def verdict(budget: Budget, value: float) -> str:
    """What a measured value means."""
    if budget.must is None:
        return ""

    def holds(limit: float) -> bool:
        return value >= limit if budget.at_least else value <= limit

    # Flat is flat within the noise of a few per cent.
    slack = 0.97 if budget.at_least else 1.03
    if budget.goal is not None and holds(budget.goal * (slack if budget.goal == 1.0 else 1)):
        return "goal"
    return "must" if holds(budget.must) else "MISSED"
