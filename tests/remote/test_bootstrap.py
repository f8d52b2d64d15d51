"""From a command to a template: noise, old Pythons, prompts, terminals, odd streams, odd machines."""

from __future__ import annotations

import fcntl
import os
import pty
import shlex
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import earlyfork
import support
from earlyfork import remote

if TYPE_CHECKING:
    from collections.abc import Callable

    Connect = Callable[..., earlyfork.Process]

#: A shell that does something, then executes the words that are added.
BEFORE = ["sh", "-c", '{}; exec "$@"', "sh"]


def after(what: str) -> list[str]:
    return [word.replace("{}", what) for word in BEFORE]


def works(host: earlyfork.Process) -> bool:
    """Whether a process that is forked there runs something."""
    process = host.fork().send_arg("exit", 3)
    process.run("remote_work.die").close()
    return process.wait(support.PATIENCE) == 3


def why_not(host: earlyfork.Process) -> str:
    with pytest.raises(earlyfork.LaunchError) as caught:
        host.ready(support.PATIENCE * 2)
    assert caught.value.__cause__ is None
    with pytest.raises(earlyfork.TemplateDied):
        host.fork()
    return str(caught.value)


@pytest.mark.parametrize(
    "noise",
    [
        "echo hello",
        "head -c 100000 /dev/zero",
        "printf 'no newline'",
        "set -x; :",
        "printf '\\0eReReF'",
    ],
)
def test_noise_before(connect: Connect, noise: str) -> None:
    assert works(connect(after(noise)))


def test_noise_after_is_told(connect: Connect, tmp_path: Path) -> None:
    """Something in the background writes to the same stream, whenever it likes."""
    go = tmp_path / "go"
    os.mkfifo(go)
    host = connect(after(f"(read _ <{shlex.quote(str(go))}; echo noise from behind) & :"))
    process = host.fork()
    sock = process.run("remote_work.wait", linked=True)
    assert sock.recv(1) == b"!"
    go.write_text("\n", encoding="utf-8")
    with pytest.raises(earlyfork.ProcessLost, match="noise from behind"):
        process.wait(support.PATIENCE)
    with pytest.raises(earlyfork.ProcessLost, match="noise from behind"):
        host.ready(support.PATIENCE)
    assert sock.recv(1) == b""
    sock.close()
    assert support.gone_within(process.pid)


@pytest.mark.parametrize("place", ["inside", "right after"])
def test_noise_around_the_token(connect: Connect, tmp_path: Path, place: str) -> None:
    """An interpreter whose first words are not what they should be."""
    cut = 5 if place == "inside" else None
    fake = tmp_path / "python"
    fake.write_text(
        f"#!{sys.executable}\n"
        "import os, sys\n"
        f"token = (sys.argv[3] + sys.argv[4])[:{cut}]\n"
        "line = token + 'noise' if len(token) < 32 else token + ' 00 .so\\nnoise'\n"
        "os.write(1, line.encode())\n"
        "while os.read(0, 65536):\n    pass\n",
        encoding="utf-8",
    )
    fake.chmod(0o755)
    host = connect(python=str(fake), timeout=1.0, ships=False)
    assert "noise" in why_not(host)


@pytest.mark.parametrize("version", ["2.7", "3.6", "3.8", "3.9"])
def test_old_pythons(
    connect: Connect, other_pythons: dict[tuple[int, int], str], tmp_path: Path, version: str
) -> None:
    major, minor = map(int, version.split("."))
    python = other_pythons.get((major, minor)) or _found(version)
    if python is None:  # what such a one would do, by one that says that it is old
        fake = tmp_path / "python"
        fake.write_text(
            f"#!{sys.executable}\nimport sys\nsys.version_info = ({major}, {minor})\n"
            f"sys.version = '{version}'\nsys.argv = ['-c', *sys.argv[3:]]\n"
            "exec(open('/proc/self/cmdline').read().split('\\0')[3])\n",
            encoding="utf-8",
        )
        fake.chmod(0o755)
        python = str(fake)
    assert f"needs Python 3.10 or later on that machine; this is {version}" in why_not(
        connect(python=python, ships=False)
    )


def _found(version: str) -> str | None:
    root = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    return next((str(path) for path in root.glob(f"versions/{version}.*/bin/python")), None)


@pytest.mark.parametrize(
    "version", [(3, 10), (3, 12), (3, 13)], ids=lambda v: ".".join(map(str, v))
)
def test_other_pythons(
    connect: Connect, other_pythons: dict[tuple[int, int], str], version: tuple[int, int]
) -> None:
    python = other_pythons.get(version)
    if python is None or version == sys.version_info[:2]:
        pytest.skip(f"no other CPython {version[0]}.{version[1]} is here")
    host = connect(python=python)
    process = host.fork().eval(
        "import sys\ndef tell(sock): sock.sendall(repr(sys.version_info[:2]).encode())"
    )
    with process.run("tell") as sock:
        assert support.read_until_eof(sock.fileno()) == repr(version).encode()
    assert process.wait(support.PATIENCE) == 0


def test_without_the_part_in_c(connect: Connect) -> None:
    assert works(connect(["env", "EARLYFORK_PURE=1"]))


def test_no_python(connect: Connect) -> None:
    words = why_not(connect(python="no-such-python", ships=False))
    assert "status 127" in words
    assert "no-such-python" in words


@pytest.mark.parametrize(
    ("command", "error"),
    [(["/no/such/command"], FileNotFoundError), (["/etc/passwd"], PermissionError)],
)
def test_a_command_that_can_not_be_executed(
    connect: Connect, command: list[str], error: type[OSError]
) -> None:
    host = connect(command, ships=False)
    child = host.fork()
    with pytest.raises(error, match=command[0]):
        host.ready(support.PATIENCE)
    with pytest.raises(earlyfork.TemplateDied, match=command[0]):
        child.wait(support.PATIENCE)


@pytest.mark.parametrize(("what", "how"), [("exit 3", "status 3"), ("kill -9 $$", "signal 9")])
def test_a_command_that_ends(connect: Connect, what: str, how: str) -> None:
    words = why_not(connect(after(f"echo to stdout; echo to stderr >&2; {what}"), ships=False))
    for told in (how, "to stdout", "to stderr"):
        assert told in words


def test_a_prompt_that_waits(connect: Connect, tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    command = after(f"echo $$ >{shlex.quote(str(pid))}; echo Password: >&2; exec sleep 1000")
    host = connect(command, timeout=0.5, ships=False)
    words = why_not(host)
    assert "not there within 0.5 seconds" in words
    assert "password?" in words
    assert "Password:" in words
    assert support.gone_within(int(pid.read_text(encoding="utf-8")))


def test_a_program_that_ends_while_a_prompt_waits(
    start_program: support.Start, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "ready")
    program = start_program("remote/prompt.py", str(tmp_path / "ready"))
    pid = int((tmp_path / "ready").read_text(encoding="utf-8"))
    program.kill()
    program.wait(support.PATIENCE)
    assert support.gone_within(pid)
    support.wait_until(lambda: not support.session(program.pid))


def test_a_terminal_is_refused(connect: Connect) -> None:
    """As `docker exec -t` and `ssh -tt` make one."""
    if not os.path.exists("/usr/bin/script"):
        pytest.skip("there is no script(1) to make a terminal")
    command = ["sh", "-c", 'exec script -qec "$1" /dev/null', "sh"]
    options = {"shell": True}
    assert "terminal" in why_not(connect(command, ships=False, **options))


def test_a_terminal_that_is_given(tmp_path: Path) -> None:
    near, far = pty.openpty()
    shell = os.fork()
    if not shell:
        os.setsid()
        fcntl.ioctl(far, 0x540E, 0)  # TIOCSCTTY
        for number in range(3):
            os.dup2(far, number)
        os.closerange(3, 100)
        os.chdir(tmp_path)
        os.execvp("sh", ["sh"])
    os.close(far)
    host = remote.connect_fds(near, near, python=sys.executable, timeout=5)
    assert "terminal" in why_not(host)
    os.close(near)
    os.kill(shell, signal.SIGKILL)
    os.waitpid(shell, 0)


ODD = """
import fcntl, os, sys
{}
os.execvp(sys.argv[1], sys.argv[1:])
"""


@pytest.mark.parametrize(
    "what",
    [
        "os.set_blocking(0, False); os.set_blocking(1, False)",
        "[fcntl.fcntl(fd, 1031, 4096) for fd in (0, 1)]",  # F_SETPIPE_SZ: many short reads
        "os.close(2)",
        "os.chdir('/'); os.environ.clear()",
        "os.umask(0o777)",
        "import signal; [signal.signal(n, signal.SIG_IGN) for n in (1, 2, 15, 17)]",
        "import signal; signal.pthread_sigmask(0, range(1, 32))",
        "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))",
    ],
)
def test_odd_streams_and_surroundings(connect: Connect, what: str) -> None:
    assert works(connect([sys.executable, "-c", ODD.format(what)]))


def test_one_byte_at_a_time(connect: Connect) -> None:
    """A command that cuts what passes in the worst way."""
    program = str(support.programs("remote") / "slow_pipe.py")
    assert works(connect([sys.executable, program]))


@pytest.mark.parametrize("value", ["a b", "it's", 'say "so"', "$HOME `id` \\ ! * ~", "ünï", ""])
def test_quoting(connect: Connect, tmp_path: Path, value: str) -> None:
    """Whatever is in a word arrives as it is, through any number of shells."""
    python = tmp_path / f"python {value}"
    python.symlink_to(sys.executable)
    for command in (["env"], ["sh", "-c"], ["sh", "-c", 'exec sh -c "$1"', "sh"]):
        shell = None if len(command) < 4 else True
        words = [str(python), "-S", "-X", "utf8"]
        host = connect(command, shell=shell, python=words)
        assert works(host)


def test_it_answers_like_a_template_only(connect: Connect) -> None:
    with connect() as host:
        with pytest.raises(earlyfork.ProcessStateError):
            host.run("remote_work.echo")
        assert "template" in repr(host.ready(support.PATIENCE))
        assert host.origin == "remote"


@pytest.mark.parametrize(
    "options", [{"timeout": 0}, {"timeout": -1}, {"python": []}, {"python": [1]}]
)
def test_options_that_mean_nothing(connect: Connect, options: dict[str, object]) -> None:
    with pytest.raises((TypeError, ValueError)):
        connect(**options)
