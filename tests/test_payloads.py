"""The Python side of the payloads: what is packed is what is unpacked, and both are these bytes."""

from __future__ import annotations

import inspect
from typing import Any

import payload_cases
import pytest

from earlyfork._shared import payloads, wire


@pytest.mark.parametrize(("function", "given", "golden"), payload_cases.CASES)
def test_packed_and_unpacked(function: str, given: tuple[Any, ...], golden: bytes) -> None:
    packed = payload_cases.packed(function, given)
    unpack = getattr(payloads, f"unpack_{function}")
    if function == "value":  # packed with its op
        assert packed[1] == golden
        assert unpack(*packed) == given[0]
        return
    assert packed == golden
    found = unpack(golden)
    if function in {"run", "up"}:  # the last of what is given has a default
        assert found[: len(given)] == given
        assert payload_cases.packed(function, found) == golden
    elif function in {"number", "env", "path"}:
        assert found == given[0]
    elif function == "exec":
        assert payload_cases.packed(function, (found,)) == golden
        for name in payloads.Command.__slots__:
            assert getattr(found, name) == getattr(given[0], name), name
    elif function == "words":
        assert tuple(found) == given[0]
    else:
        assert found == given


def test_every_pair_has_cases() -> None:
    names = {name for name, _ in inspect.getmembers(payloads, inspect.isfunction)}
    pairs = {name.partition("_")[2] for name in names if name.startswith("pack_")}
    assert {f"unpack_{name}" for name in pairs} <= names
    assert pairs - {"values"} == {name for name, *_ in payload_cases.CASES}


@pytest.mark.parametrize("payload", [b"", b"-", b"--1", b"1.0", b" 1", b"1" * 30, b"\xff", b"1\n"])
def test_what_is_no_number(payload: bytes) -> None:
    with pytest.raises(wire.ProtocolError):
        payloads.unpack_number(payload)


@pytest.mark.parametrize("message", [b"", b"\x60\0\0\0"])
def test_what_is_no_message(message: bytes) -> None:
    with pytest.raises(wire.ProtocolError):
        payloads.unpack_up(message)


@pytest.mark.parametrize("payload", [b"", b"\5\0\0\0\0" * 3, b"\5\0\0\0\0" * 4])
def test_what_is_no_command(payload: bytes) -> None:
    with pytest.raises(wire.ProtocolError):
        payloads.unpack_exec(payload)


@pytest.mark.parametrize("name", ["OSError", "OSError x", "OSError 12345", "", "a b c"])
def test_what_is_no_errno(name: str) -> None:
    assert payloads.errno_of(name)[1] is None


def test_an_error_that_is_no_error() -> None:
    """A process may say anything at all."""
    assert payloads.unpack_error(b"\xff") == ("\ufffd", "", "")
    assert payloads.unpack_error(b"") == ("", "", "")
    assert payloads.unpack_error(b"a\0b\0c\0d") == ("a", "b", "c\0d")


def test_long_and_odd_errors_are_cut_and_escaped() -> None:
    packed = payloads.pack_error("T", "s\0s", "t" * 100_000 + "\udcff")
    assert len(packed) == wire.MAX_TEXT
    assert packed.startswith(b"T\0s\\0s\0ttt")
