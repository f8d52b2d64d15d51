"""What each payload looks like: one table for all who read or write one.

The Python side packs and unpacks each of them (test_payloads.py). Real processes, with the part in C
and without it, are sent the bytes, and what they write is held against them
(contract/test_payloads.py).
"""

from __future__ import annotations

from typing import Any

from earlyfork._shared import payloads

#: Function, what it is given, the bytes.
CASES: list[tuple[str, tuple[object, ...], bytes]] = [
    ("number", (0,), b"0"),
    ("number", (4711,), b"4711"),
    ("number", (-15,), b"-15"),
    ("run", ("work.echo",), b"-work.echo"),
    ("run", ("work:Namespace.Inner.answer", payloads.UNLINKED), b"-work:Namespace.Inner.answer"),
    ("run", ("work.echo", payloads.LINKED), b"Lwork.echo"),
    ("run", ("m\xf6dul.f", payloads.SECOND_LINE), b"Sm\xc3\xb6dul.f"),
    ("run", ("work.echo", payloads.UNLINKED, True), b"awork.echo"),
    ("run", ("work.echo", payloads.LINKED, True), b"lwork.echo"),
    ("run", ("work.echo", payloads.SECOND_LINE, True), b"swork.echo"),
    (
        "exec",
        (payloads.Command(b"true", [b"true"]),),
        b"\5\0\0\0\x0b- - --- -1 \5\0\0\0\4true\5\0\0\0\4true\5\0\0\0\0",
    ),
    (
        "exec",
        (
            payloads.Command(
                b"sh",
                [b"a", b""],
                env=[b"A=1", b"B="],
                streams=b"nf-",
                numbers=(3, 57),
                cwd=True,
                umask=0o77,
                session=True,
                link=payloads.SECOND_LINE,
                prepare=payloads.pack_values(("m.f", b"x")),
            ),
        ),
        (
            b"\5\0\0\0\x12S -ecs nf- 63 3,57\5\0\0\0\2sh\5\0\0\0\2a\0\5\0\0\0\6A=1\0B="
            b"\6\0\0\0\3m.f\5\0\0\0\1x"
        ),
    ),
    (
        "exec",
        (payloads.Command(b"x", [b"x"], env=[]),),
        b"\5\0\0\0\x0c- -e --- -1 \5\0\0\0\1x\5\0\0\0\1x\5\0\0\0\0",
    ),
    ("env", ([(b"A", b"1")],), b"A=1"),
    ("env", ([(b"A", b"1=2"), (b"B", b""), (b"C", None)],), b"A=1=2\0B=\0C"),
    ("env", ([(b"GONE", None)],), b"GONE"),
    ("path", ([b"/one", b"", b"/tw\xff"],), b"/one\0\0/tw\xff"),
    ("words", (("file", "r+b", "", "", "None", "-1"),), b"file\0r+b\0\0\0None\0-1"),
    ("words", (("fd",),), b"fd"),
    (
        "error",
        ("ValueError", "ValueError: x", "Traceback"),
        b"ValueError\0ValueError: x\0Traceback",
    ),
    ("up", (97, 4711, b"S"), b"\x61\x00\x00\x12\x67S"),
    ("up", (96, 1), b"\x60\x00\x00\x00\x01"),
    ("queued", (7, 4711), b"\0\0\0\7\0\0\x12\x67"),
    ("value", (b"\0\xff",), b"\0\xff"),
    ("value", (None,), b"N"),
    ("value", ("w\xf6rd \udcff",), b"w\xc3\xb6rd \xed\xb3\xbf"),
]


def packed(function: str, given: tuple[Any, ...]) -> Any:
    """What the Python side makes of it."""
    pack = getattr(payloads, f"pack_{function}")
    if function == "run":
        return pack(*given[:2], alone=given[2:] == (True,))
    return pack(*given)


def of(function: str) -> list[tuple[tuple[object, ...], bytes]]:
    """The cases of one function."""
    return [(given, golden) for name, given, golden in CASES if name == function]
