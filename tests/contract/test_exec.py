"""SEMANTICS and COMPANIONS, "Process.exec": a prepared process becomes a command."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import work

import earlyfork
import support
from earlyfork._ground.fds import open_fds
from earlyfork._owner import inside
from earlyfork._owner.own import open_directory
from earlyfork._shared import payloads, wire

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Make = Callable[[], earlyfork.Process]


def output_of(process: earlyfork.Process, argv: list[str], **options: object) -> str:
    """What the command writes to stdout."""
    reads, writes = os.pipe()
    try:
        process.exec(argv, stdout=writes, **options)  # type: ignore[arg-type]
        os.close(writes)
        writes = -1
        text = support.read_until_eof(reads).decode()
        process.wait(10)
        return text
    finally:
        os.close(reads)
        if writes >= 0:
            os.close(writes)


def test_the_handle_goes_on_with_exact_status(make: Make) -> None:
    scripts = {"exit 0": 0, "exit 42": 42, "kill -KILL $$": -9, "kill -PIPE $$": -13}
    for script, status in scripts.items():
        process = make()
        pid = process.pid
        assert process.exec(["sh", "-c", script]) is process
        process.ready(10)
        assert (process.wait(10), process.pid, process.name) == (status, pid, "sh")
        assert process.error is None
        with pytest.raises(earlyfork.ProcessStateError):
            process.exec(["true"])


def test_signals_and_sentinel_are_the_commands(make: Make) -> None:
    process = make().exec(["sleep", "100"]).ready(10)
    assert process.ready(0) is process
    assert not support.readable_within(process.sentinel, 0)
    process.terminate()
    assert support.readable_within(process.sentinel, 10)
    assert process.wait(10) == -signal.SIGTERM


def test_streams_files_and_fds_are_those_listed(make: Make, tmp_path: Path) -> None:
    (tmp_path / "in").write_text("from a file")
    with (tmp_path / "in").open() as source, (tmp_path / "out").open("wb") as target:
        extra = os.open(tmp_path / "extra", os.O_RDWR | os.O_CREAT)
        high = 57
        os.dup2(extra, high)
        try:
            process = make().exec(
                [
                    "sh",
                    "-c",
                    f"cat; echo to stderr >&2; echo extra > /dev/fd/{high}; ls /proc/self/fd >&2",
                ],
                stdin=source,
                stdout=target,
                stderr=target.fileno(),
                pass_fds=[high],
            )
            os.close(extra)
            assert process.wait(10, check=True) == 0
        finally:
            os.close(high)
    found = (tmp_path / "out").read_text()
    assert found.startswith("from a fileto stderr\n")
    assert found.split()[-5:] == ["0", "1", "2", "3", "57"]  # 3 is the one that lists them
    assert (tmp_path / "extra").read_text() == "extra\n"


def test_a_passed_fd_may_have_any_number(make: Make) -> None:
    """Also one of those among which the process has its own sockets, or what came."""
    reads, writes = os.pipe()
    make().close()
    ours = {reads, writes}.union(*map(inside.own_fds, inside.living()))
    for number in {*range(3, 13)} & {*open_fds()} - ours:
        kept = fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, 60)
        os.dup2(reads, number)
        os.write(writes, b"x")
        try:
            argv = ["head", "-c", "1", f"/dev/fd/{number}"]
            assert output_of(make(), argv, pass_fds=[number], linked=True) == "x", number
        finally:
            os.dup2(kept, number)
            os.close(kept)
    os.close(reads)
    os.close(writes)


def test_nothing_else_is_open_there_and_signals_are_fresh(make: Make) -> None:
    process = make().eval(
        "import os, signal\n"
        "os.set_inheritable(os.open('/', os.O_RDONLY), True)\n"
        "os.dup2(os.open('/', os.O_RDONLY), 40)\n"
        "signal.signal(signal.SIGUSR1, signal.SIG_IGN)\n"
        "signal.signal(signal.SIGUSR2, lambda *_: None)\n"
        "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1, signal.SIGTERM])\n"
    )
    argv = ["sh", "-c", "exec 2>&1; ls /proc/self/fd; cat /proc/self/status"]
    text = output_of(process, argv)
    assert text.split()[:4] == ["0", "1", "2", "3"]
    assert text.split()[4] == "Name:"
    found = dict(re.findall(r"(Sig(?:Pnd|Blk|Ign)):\s+(\S+)", text))
    assert len(found) == 3
    # Signals 32 and 33 are glibc's own; what its posix_spawn starts ignores them.
    assert not any(int(mask, 16) & ~(3 << 31) for mask in found.values()), found
    assert process.wait(10) == 0


def test_without_proc_nothing_else_is_open_either(make: Make) -> None:
    process = make().eval(
        "import os, earlyfork._child.executing as executing\n"
        "os.dup2(os.open('/', os.O_RDONLY), 40)\n"
        "def listdir(path): raise FileNotFoundError(path)\n"
        "executing.os = type(os)('os'); executing.os.__dict__.update(vars(os), listdir=listdir)\n"
    )
    assert output_of(process, ["ls", "/proc/self/fd"]).split() == ["0", "1", "2", "3"]


@pytest.fixture
def odd_files(tmp_path: Path) -> Path:
    """Files that can't be executed, each for another reason."""
    (tmp_path / "no-format").write_text("echo no shebang\n")
    (tmp_path / "no-right").write_text("#!/bin/sh\n")
    (tmp_path / "no-format").chmod(0o755)
    return tmp_path


#: Commands that can't be executed among these.
ODD = (
    ["./no-such-file"],
    ["no-such-command"],
    ["./no-right"],
    ["."],
    ["./no-format"],
    ["./no-format/below"],
    ["true", "x" * 200_000],
)


def test_failures_are_those_of_subprocess(make: Make, odd_files: Path) -> None:
    for argv in ODD:
        fails_as_there(make(), odd_files, argv)


def fails_as_there(process: earlyfork.Process, odd_files: Path, argv: list[str]) -> None:
    with pytest.raises(OSError) as theirs:
        subprocess.Popen(argv, cwd=odd_files)
    process.eval("import os; os.chdir(args[0])", str(odd_files)).exec(argv)
    for ask in (process.ready, lambda: process.wait(10, check=True)):
        with pytest.raises(type(theirs.value)) as ours:
            ask()
        assert ours.value.args == theirs.value.args
        assert ours.value.filename == theirs.value.filename
    assert process.wait(10) == 127
    assert process.error is not None
    assert process.error.type_name == type(theirs.value).__name__


def test_a_busy_file(make: Make, tmp_path: Path) -> None:
    file = tmp_path / "busy"
    file.write_bytes(b"#!/bin/sh\n")
    file.chmod(0o755)
    with file.open("ab"), pytest.raises(OSError, match="busy") as raised:
        make().exec([file]).ready(10)
    assert raised.value.errno == errno.ETXTBSY
    assert raised.value.filename == file


def test_path_and_environment_are_the_commands(make: Make, tmp_path: Path) -> None:
    own = tmp_path / "own-command"
    own.write_text("#!/bin/sh\necho $HELLO $LD_PRELOAD\n")
    own.chmod(0o755)
    env = {"PATH": f"{tmp_path}:/bin:/usr/bin", "HELLO": "yes", b"LD_PRELOAD": b""}
    assert output_of(make(), ["own-command"], env=env) == "yes\n"
    assert output_of(make(), ["another name"], env=env, executable="own-command") == "yes\n"
    assert output_of(make(), ["/usr/bin/env"], env={}) == ""
    prepared = make().eval("import os; os.environ['HELLO'] = 'prepared'")
    assert output_of(prepared, ["sh", "-c", "echo $HELLO"]) == "prepared\n"


REFUSED: tuple[tuple[list[str], dict[str, object], type[Exception]], ...] = (
    ([], {}, ValueError),
    (["a\0b"], {}, ValueError),
    ([1], {}, TypeError),  # type: ignore[list-item]
    (["true"], {"env": {"a=b": ""}}, ValueError),
    (["true"], {"env": {"": ""}}, ValueError),
    (["true"], {"env": {"a": "\0"}}, ValueError),
    (["true"], {"stdin": subprocess.PIPE}, ValueError),
    (["true"], {"stdin": True}, TypeError),
    (["true"], {"stdout": 12345}, OSError),
    (["true"], {"pass_fds": range(3, 300)}, ValueError),
    (["true"], {"prepare": "no name"}, ValueError),
)


def test_what_is_no_command_is_refused_at_once(make: Make) -> None:
    process = make()
    for argv, options, error in REFUSED:
        with pytest.raises(error):
            process.exec(argv, **options)  # type: ignore[arg-type]
    process.run(work.returns).close()
    assert process.wait(10) == 0


def test_prepare_runs_last_with_everything_in_place(make: Make) -> None:
    text = output_of(make(), ["sh", "-c", "echo $HELLO"], prepare=("work.says", "hello"))
    assert text == "hello\nset by prepare\n"


def test_prepare_that_raises(make: Make) -> None:
    process = make().exec(["true"], prepare=("work.raises", "told so"))
    with pytest.raises(earlyfork.RemoteError, match="told so") as raised:
        process.ready(10)
    assert raised.value.type_name == "LookupError"
    assert process.wait(10) == 1


def test_what_a_module_left_unwritten_is_written(make: Make, tmp_path: Path) -> None:
    (tmp_path / "leaves_open.py").write_text("file = open('out', 'w')\nfile.write('kept')\n")
    process = make()
    inside.add(
        process, wire.PATH, payloads.pack_path([*map(os.fsencode, sys.path), bytes(tmp_path)])
    )
    inside.add(process, wire.CWD, b"", (open_directory(tmp_path),))
    process.require("leaves_open").exec(["true"])
    assert process.wait(10) == 0
    assert (tmp_path / "out").read_text() == "kept"


def test_what_failed_before_is_told(make: Make) -> None:
    process = make().require("no_such_module").exec(["true"])
    with pytest.raises(earlyfork.RemoteError, match="no_such_module"):
        process.ready(10)
    killed = make()
    killed.kill()
    assert killed.wait(10) == -9
    with pytest.raises(earlyfork.ProcessStateError, match="before it could become 'true'"):
        killed.exec(["true"]).ready(10)


def test_a_large_command_travels(make: Make) -> None:
    words = ["word" * 2000] * 100
    env = {f"NAME{n}": "value" * 1000 for n in range(100)}
    script = "printf %s $#,; env | grep -c ^NAME"
    argv = ["sh", "-c", script, *words]
    text = output_of(make(), argv, env={**env, "PATH": os.defpath}, stderr=2)
    assert text == "99,100\n"


def test_a_process_with_clones_executes_in_one_more(make: Make) -> None:
    process = make()
    clone = process.fork()
    assert output_of(process, ["sh", "-c", "echo $PPID"]).strip().isdecimal()
    assert process.wait(10) == 0
    clone.run(work.returns).close()
    assert clone.wait(10) == 0


def test_the_command_goes_on_without_its_handle(make: Make) -> None:
    reads, writes = os.pipe()
    process = make().exec(["sh", "-c", "sleep 0.05; echo $$"], stdout=writes)
    os.close(writes)
    pid = process.pid
    process.close()
    assert support.read_until_eof(reads) == b"%d\n" % pid
    os.close(reads)
    assert support.gone_within(pid)


def test_umask_is_given(make: Make) -> None:
    assert output_of(make(), ["sh", "-c", "umask"], umask=0o077).strip() == "0077"


def test_a_template_of_the_program_never_executes() -> None:
    root = earlyfork.new()
    root.close()
    with pytest.raises(earlyfork.ProcessStateError):
        root.exec(["true"])
