"""What earlyfork promises (must), what it is after (goal), and how a figure is read.

R is `os.fork()`, `os._exit()` and `waitpid()` with a socketpair made, one after another, in a bare
`python3 -I -S`: the least that a process in Python can cost on the machine at hand.
"""

from __future__ import annotations

from typing import NamedTuple


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
    must: float | None
    goal: float | None
    at_least: bool = False
    unit: str = "us"
    measure: str = "x"


SCALE = {"us": 1e6, "ms": 1e3, "MB": 1e-6, "/s": 1.0}

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
    # For information.
    Budget("first, 200 MB", "first byte from a parent of 200 MB / small", None, None),
    Budget("first, burst", "first byte, standby, no pause between / R", None, None),
    Budget("first, hot R", "first byte, standby, every ms / R without pauses", None, None),
    Budget("blocked, hot R", "caller blocked, every ms / R's fork() without pauses", None, None),
    Budget("blocked, none", "caller blocked, no standby / R's fork()", None, None),
    Budget("rate, none", "rate without standby / R", None, None, True, "/s"),
    Budget("scale, R", "cost per os.fork(), most live children / 10", None, None),
    Budget("flight, fork", "os.fork(), 16 in flight / sequential R", None, None, True, "/s"),
)


def verdict(budget: Budget, value: float) -> str:
    """What a measured value means."""
    if budget.must is None or budget.goal is None:
        return ""

    def holds(limit: float) -> bool:
        return value >= limit if budget.at_least else value <= limit

    # Flat is flat within the noise of a few per cent.
    slack = 0.97 if budget.at_least else 1.03
    if holds(budget.goal * slack) if budget.goal == 1.0 else holds(budget.goal):
        return "goal"
    return "must" if holds(budget.must) else "MISSED"
