"""Workers. No module of the program imports this one."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any, TextIO

# The program has this module only because its name stands in scenarios.py, and so has the next:
# it is named here alone.
import earlyfork
from earlyfork import command


def say(sock: socket.socket, what: object) -> None:
    sock.sendall(json.dumps(what).encode())


def worker(sock: socket.socket, *values: object) -> None:
    say(sock, {
        "pid": os.getpid(),
        "values": repr(values),
        "hooks": sorted(getattr(sys, "hooks_that_ran", [])),
        "main": sorted(k for k in vars(sys.modules["__main__"]) if not k.startswith("__")),
        "environment": sorted(k for k in os.environ if "EARLYFORK" in k),
        "scenarios": "scenarios" in sys.modules,
    })  # fmt: skip


def where_is_lsprof(sock: socket.socket) -> None:
    say(sock, sys.modules["_lsprof"].__file__)


def use_handles(
    _sock: socket.socket, pipe: TextIO, peer: socket.socket, word: str, fd: int
) -> None:
    assert isinstance(peer, socket.socket)
    pipe.write(f"file {word} {pipe.mode} ")
    pipe.close()
    os.write(fd, b"fd")
    os.close(fd)


def surroundings(sock: socket.socket) -> None:
    say(sock, {"env": dict(os.environ), "cwd": str(Path.cwd())})


def nest(sock: socket.socket, depth: int) -> None:
    below: Any = None
    if depth > 1:
        process = earlyfork.new().send_arg(depth - 1)
        inner = process.run("only_named_deeper.nest")
        with inner, inner.makefile("rb") as file:
            below = json.loads(file.read())
        assert process.wait(20) == 0
    say(sock, {"pid": os.getpid(), "depth": depth, "below": below})


def carry(sock: socket.socket, fh: socket.socket) -> None:
    process = earlyfork.new_from_fh(fh)
    inner = process.run("only_named.tell_mark")
    with inner, inner.makefile("rb") as file:
        say(sock, json.loads(file.read()))


def tell_mark(sock: socket.socket) -> None:
    say(sock, {"mark": sys.mark, "pid": os.getpid()})  # type: ignore[attr-defined]


def end(_sock: socket.socket, how: str, number: int) -> None:
    if how == "exit":
        sys.exit(number)
    if how == "raise":
        raise RuntimeError("as asked for")
    os.kill(os.getpid(), -number)
    signal.pause()


def what_commands_see(sock: socket.socket) -> None:
    environment = earlyfork.command_environment()
    shell = ["/bin/sh", "-c", "echo ${LD_LIBRARY_PATH-none}"]
    done = subprocess.run(shell, env=environment, capture_output=True, text=True, check=True)
    say(sock, {
        "here": os.environ.get("LD_LIBRARY_PATH"),
        "command": done.stdout.strip(),
        "loader": sorted(name for name in environment if name.startswith("_PYI_")),
        "other": environment.get("OTHER"),
        "run": [
            command.run(shell, capture_output=True, text=True, **options).stdout.strip()
            for options in ({}, {"env": {**os.environ}}, {"linked": True}, {"nice": 1})
        ],
        "given": earlyfork.command_environment({"LD_LIBRARY_PATH": "/x", "A": "b"}),
    })  # fmt: skip


def outlive(sock: socket.socket, result: str, home: str) -> None:
    """Go on after the program has ended and its unpacked directory, if any, is gone."""
    sock.sendall(b"ready")
    while sock.recv(100):
        pass
    if Path(home).name.startswith("_MEI"):
        until_removed(Path(home))
    try:
        import _lsprof

        module = _lsprof.__file__
    except ImportError as error:
        module = f"{type(error).__name__}"
    import only_named_deeper

    seen = {
        "program_is_there": Path(home).exists(),
        "module": module,
        "python": only_named_deeper.__name__,
        "own": str(sys._MEIPASS) != home,  # type: ignore[attr-defined]
    }
    Path(f"{result}.part").write_text(json.dumps(seen))
    Path(f"{result}.part").rename(result)


def until_removed(path: Path) -> None:
    """Wait for the bootloader, a stranger, to remove it: the kernel tells when something goes."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGIO})
    folder = os.open(path.parent, os.O_RDONLY)
    fcntl.fcntl(folder, fcntl.F_NOTIFY, fcntl.DN_DELETE | fcntl.DN_MULTISHOT)
    while path.exists() and signal.sigtimedwait({signal.SIGIO}, 5):
        pass
    os.close(folder)


def until_eof(sock: socket.socket) -> None:
    sock.sendall(b"ready")
    sock.recv(1)
