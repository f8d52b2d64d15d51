"""Values and files on their way: what arrives is what was sent, whichever way it took."""

from __future__ import annotations

import collections
import socket
from typing import TYPE_CHECKING, Any

import pytest
import work

import earlyfork
from earlyfork._shared import payloads, wire
from earlyfork._shared.plain import DEEPEST, MOST_PARTS

if TYPE_CHECKING:
    from collections.abc import Callable

    Make = Callable[[], earlyfork.Process]

#: So many processes of one template: some of them were forked ahead.
SOME = 4
PLAIN = [
    *(None, True, False, 0, -1, 1 << 31, -(1 << 200), 0.0, -0.0, 1e308, float("inf"), 3 - 4j),
    *("", "a", "w\xf6rd \U0001f40d \udcff\0", b"", b"\0\xff", (), [], {}, set(), frozenset()),
    (1, "a", [2.5, {"key": (None,), 7: {b"x", 1}}], frozenset((1, (2, 3)))),
    {"name": "service", "ports": [80, 443], ("a", 1): {"deep": [[[[[]]]]]}},
    list(range(5000)),
]


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


PICKLED: list[Any] = [
    *(..., range(3), bytearray(b"x"), work.Colour.RED, work.Point(1, 2), work.Text("x")),
    *(collections.OrderedDict(a=1), {"a": work.Colour.RED}, [(1, {2: work.Text("x")})]),
    *(nested(DEEPEST + 1), collections.Counter("aab"), int, work.echo),
]


def prepared() -> earlyfork.Process:
    return earlyfork.new().require("work")


LOADED = """\
def loaded(sock, *_):
    import sys
    found = [name for name in ("pickle", "_pickle") if name in sys.modules]
    sock.sendall(repr(found).encode())
"""


def loads(process: earlyfork.Process) -> str:
    """Which parts of pickle are loaded when a process runs its function."""
    with process.run("loaded") as sock, sock.makefile() as file:
        return file.read()


def kinds(value: Any) -> Any:
    """The types of all parts of a value."""
    if isinstance(value, dict):
        return type(value), [(kinds(key), kinds(found)) for key, found in value.items()]
    if isinstance(value, (list, tuple)):
        return type(value), [kinds(part) for part in value]
    return type(value)


@pytest.mark.parametrize("value", PLAIN, ids=lambda value: repr(value)[:20])
def test_plain_values_arrive(value: object) -> None:
    template = prepared()
    for _ in range(SOME):
        (found,) = work.got(template.fork().send_arg(value).run(work.echo))
        assert found == value
        assert not isinstance(value, float) or repr(found) == repr(value)
        assert kinds(found) == kinds(value)


@pytest.mark.parametrize("value", PICKLED, ids=lambda value: repr(value)[:20])
def test_all_others_arrive_as_pickle_has_it(value: object) -> None:
    assert payloads.pack_value(value)[0] == wire.ARG_PICKLE
    template = prepared()
    for _ in range(SOME):
        (found,) = work.got(template.fork().send_arg(value).run(work.echo))
        assert found == value
        assert kinds(found) == kinds(value)


def test_a_template_whose_clones_unpickle_has_that_loaded() -> None:
    template, other = (earlyfork.new_exec().eval(LOADED) for _ in range(2))
    before = loads(other.fork())  # what the program's start, say, has loaded everywhere
    after = "['_pickle']" if before == "[]" else before
    for number in range(8):  # those that were forked ahead load it by themselves
        assert loads(template.fork().send_arg(range(number))) == after
    template.eval("assert '_pickle' in __import__('sys').modules").ready(10)
    ops = {payloads.pack_value(value)[0] for value in PLAIN[:-1]}
    assert ops == {wire.ARG_BYTES, wire.ARG_STR, wire.ARG_PLAIN}
    assert loads(other.fork().send_arg(*PLAIN[:-1])) == before


@pytest.mark.parametrize("size", [3, MOST_PARTS * 2])
def test_one_object_stays_one_object(size: int) -> None:
    part = [*range(size)]
    for value in ((part, part), [part, {"again": part}], (part, Ellipsis, part)):
        assert work.got(prepared().fork().send_arg(value).run(work.first_and_last)) is True
    assert work.got(prepared().fork().send_arg((part, [*part])).run(work.first_and_last)) is False


def test_a_value_that_contains_itself() -> None:
    endless: list[Any] = [1]
    endless.append(endless)
    assert work.got(prepared().fork().send_arg(endless).run(work.first_and_last)) is False
    assert work.got(prepared().fork().send_arg([endless]).run(work.contains_itself)) is True


@pytest.mark.parametrize(
    "value",
    [lambda: 0, compile("1", "", "eval"), memoryview(b"x"), (1, [memoryview(b"x")])],
    ids=["function", "code", "memoryview", "inside"],
)
def test_what_pickle_refuses_is_refused(value: object) -> None:
    process = prepared().fork()
    with pytest.raises(TypeError, match="can't be sent"):
        process.send_arg(1, value)
    assert work.got(process.send_arg(2).run(work.echo)) == (2,)


@pytest.mark.parametrize("size", [200, 230, 256, 4000, *range(8150, 8200, 7), 9000, 70_000])
def test_a_batch_of_any_size(size: int) -> None:
    """Small ones are read by a new process itself, larger ones by its server."""
    template = prepared()
    for _ in range(SOME):
        process = template.fork().send_arg(1, "x" * size, {"key": b"y"})
        assert work.got(process.run(work.echo)) == (1, "x" * size, {"key": b"y"})
        assert process.wait(10) == 0


@pytest.mark.parametrize("linked", [False, True])
@pytest.mark.parametrize("alone", [False, True])
def test_files_and_values_in_any_order(make: Make, linked: bool, alone: bool) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.settimeout(3.5)
        for _ in range(SOME):
            process = make().require("work").send_arg(1).send_fh(theirs, ours.fileno())
            process.send_arg("last").send_fh(ours)
            sock = process.run(work.describe_all, linked=linked, alone=alone)
            first, one, number, last, two = work.got(sock)
            assert (first, last) == ("1", "'last'")
            assert (one, two) == (("socket", 3.5), ("socket", None))
            assert number == "int"
            assert process.wait(10) == 0
        theirs.setblocking(True)


def test_what_was_sent_to_a_template_comes_first() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        template = prepared().send_arg("template's").send_fh(ours)
        for number in range(SOME):
            process = template.fork().send_arg(f"clone {number}")
            first, sock, last = work.got(process.run(work.describe_all))
            assert (first, sock, last) == (
                '"template\'s"',
                ("socket", None),
                repr(f"clone {number}"),
            )


def test_all_fds_that_one_message_can_carry(make: Make) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        process = make().require("work").send_arg(1)
        for _ in range(wire.MAX_FDS + 3):
            process.send_fh(ours.fileno())
        found = work.got(process.run(work.describe_all, linked=True))
        assert process.wait(10) == 0
        assert found == ["1", *["int"] * (wire.MAX_FDS + 3)]


def test_a_value_that_can_not_be_made_there() -> None:
    template = prepared()
    for _ in range(SOME):
        process = template.fork().send_arg(1, work.Unmade())
        with process.run(work.echo) as sock:
            assert sock.recv(1) == b""
        assert process.wait(10) == 1
        assert process.error is not None
        assert "never made" in str(process.error)
    assert work.got(template.fork().send_arg(1).run(work.echo)) == (1,)


def test_a_function_by_each_of_its_names(make: Make) -> None:
    for name in ("work.echo", "work:echo", work.echo, "work:Colour.named"):
        process = make().require("work").send_arg("RED")
        wanted = ("RED",) if "echo" in str(name) else "named RED"
        assert work.got(process.run(name)) == wanted
    process = make().require("work").send_arg(1)
    process.run("work:missing").close()
    assert process.wait(10) == 1
    assert process.error is not None
    assert "missing" in str(process.error)
