"""How a Python is started through a command: no process is made here but shells that quote."""

from __future__ import annotations

import ast
import subprocess
import sys

import pytest

from earlyfork._shared.wire import ProtocolError
from earlyfork.remote import _wire, _words

WORDS = ["python3", "-c", "a 'b' \"c\" $d `e` \\f !g *", "", "h\ni"]


def test_first_is_short_and_bears_any_shell() -> None:
    assert len(_words.FIRST) < 1024
    assert not set("'\\!\n") & set(_words.FIRST)
    ast.parse(_words.FIRST)


@pytest.mark.parametrize(
    ("command", "shell", "times"),
    [
        (["env"], None, 0),
        (["ssh", "host"], None, 1),
        (["/usr/bin/ssh", "-p", "22", "host"], None, 1),
        (["ssh", "host", "sudo", "unshare"], None, 1),
        (["ssh", "a", "ssh", "b"], None, 2),
        (["ssh", "ssh"], None, 1),
        (["sudo", "-u", "me", "ssh", "host"], None, 1),
        (["docker", "exec", "-i", "name"], None, 0),
        (["kubectl", "exec", "-i", "pod", "--"], None, 0),
        (["sh", "-c"], None, 1),
        (["su", "me", "-c"], None, 1),
        (["sh", "-c", 'exec "$@"', "sh"], None, 0),
        (["ssh", "host"], False, 0),
        (["wrapper"], True, 1),
    ],
)
def test_how_often_it_is_quoted(command: list[str], shell: bool | None, times: int) -> None:
    assert _words.how_often(command, shell=shell) == times
    line = _words.line(command, WORDS, shell=shell)
    if not times:
        assert line == [*command, *WORDS]
        return
    assert line[:-1] == command
    # Each shell takes one layer off.
    show = [sys.executable, "-c", "import sys; print(sys.argv[1:])"]
    text = line[-1]
    for _ in range(times - 1):
        done = subprocess.run(["sh", "-c", f"printf %s {text}"], stdout=-1, check=True, timeout=10)
        text = done.stdout.decode()
    command_line = " ".join([*map(_quoted, show), text])
    done = subprocess.run(["sh", "-c", command_line], stdout=-1, check=True, timeout=10)
    assert ast.literal_eval(done.stdout.decode()) == WORDS


def _quoted(word: str) -> str:
    return "'" + word + "'"


@pytest.mark.parametrize("command", ["ssh host", b"ssh", [], ["a", 1], ["a\0b"], 5])
def test_what_is_no_command(command: object) -> None:
    from earlyfork import remote

    with pytest.raises((TypeError, ValueError)):
        remote.connect(command)  # type: ignore[arg-type]


def test_frames_however_they_are_cut() -> None:
    frames = [(_wire.DATA, 7, b"x" * 300), (_wire.PING, 0, b""), (_wire.CREDIT, 9, b"abcd")]
    data = b"".join(_wire.frame(*frame) for frame in frames)
    for cut in range(len(data) + 1):
        decoder = _wire.Decoder(_wire.FROM_RELAY)
        assert [*decoder.feed(data[:cut]), *decoder.feed(data[cut:])] == frames
    decoder = _wire.Decoder(_wire.FROM_RELAY)
    assert [frame for at in range(len(data)) for frame in decoder.feed(data[at : at + 1])] == frames


@pytest.mark.parametrize(
    "noise",
    [
        b"hello\n",
        b"e",
        b"motd: welcome to this machine\n" * 20,
        _wire.HEAD.pack(_wire.MAGIC, 99, 0, 0),
        _wire.HEAD.pack(_wire.MAGIC, _wire.DATA, 1, 1 << 30),
    ],
)
def test_what_is_no_frame(noise: bytes) -> None:
    decoder = _wire.Decoder(_wire.FROM_RELAY)
    with pytest.raises(ProtocolError):
        list(decoder.feed(_wire.frame(_wire.PING, 0) + noise + b"-"))


def test_a_side_says_only_what_is_its_own() -> None:
    with pytest.raises(ProtocolError):
        list(_wire.Decoder(_wire.FROM_AGENT).feed(_wire.frame(_wire.FORK, 1, b"12345678")))
