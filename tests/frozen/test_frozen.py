"""One program, frozen as one file and as a directory, run with no Python reachable.

Built once a run. Each scenario runs on both binaries, and with both origins: `early` begins with
`import earlyfork`; `library` does not, so its processes come about by launching the binary again.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

import support

if TYPE_CHECKING:
    from collections.abc import Iterator

    from frozen.apps import App, Built

# One worker builds, the others wait for it: hence the timeout, and one group for --dist=loadgroup.
pytestmark = [pytest.mark.frozen, pytest.mark.xdist_group("frozen"), pytest.mark.timeout(300)]


only_onefile = pytest.mark.parametrize("app", ["onefile-early", "onefile-library"], indirect=True)


# --- what the build said --------------------------------------------------------------------


def test_names_are_found_and_told(built: Built) -> None:
    assert re.search(r"INFO: earlyfork: collecting only_named, named at scenarios:\d+", built.log)
    chained = r"INFO: earlyfork: collecting only_named_deeper, named at only_named:\d+"
    assert re.search(chained, built.log)
    assert re.search(r"WARNING: earlyfork: .* 'not_collected' that scenarios:\d+ names", built.log)
    assert re.search(r"named at .*scenarios:\d+; .* --hidden-import=MODULE", built.log)


def test_nothing_else_is_dragged_in(built: Built) -> None:
    assert "pyi_rth_multiprocessing" not in built.log


def test_some_runtime_hook_comes_after_ours(built: Built) -> None:
    hooks = re.findall(r"Including run-time hook '(\w+)\.py'", built.log)
    assert {"pyi_rth_aaa_hooked", "pyi_rth_earlyfork", "pyi_rth_zzz_hooked"} <= set(hooks)
    assert hooks[-1] != "pyi_rth_earlyfork"  # else the tests below show nothing about the order


# --- scenarios ------------------------------------------------------------------------------


def check_worker(seen: dict[str, Any]) -> None:
    """What must be so wherever a worker was made."""
    said = seen["said"]
    assert said["pid"] == seen["process_pid"] != seen["pid"]
    assert seen["returncode"] == 0
    assert said["values"] == repr(("greeting", b"\0\xff", {"a": [1, 2]}))
    assert said["hooks"] == ["aaa", "zzz"]
    assert said["main"] == []
    assert said["scenarios"] is False
    assert seen["environment"] == said["environment"] == []


def test_worker_in_a_module_that_only_a_string_names(app: App) -> None:
    seen = app.play("basic")
    app.check_origin(seen)
    check_worker(seen)


def test_empty_environment(app: App) -> None:
    env = {"TMPDIR": str(app.unpack)} if app.binary.name == "onefile" else {}
    check_worker(app.play("basic", env=env))


def test_by_a_relative_path_from_a_program_that_changes_directory(app: App) -> None:
    command = app.command("chdir")
    command[0] = f"./{app.binary.name}"
    check_worker(app.finish(command, cwd=app.binary.parent))


def test_by_a_symlink(app: App) -> None:
    link = app.directory / "link"
    link.symlink_to(app.binary)
    command = app.command("chdir")
    command[0] = str(link)
    check_worker(app.finish(command))


def test_closed_streams(app: App) -> None:
    shell = ["/bin/sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh"]
    check_worker(app.finish([*shell, *app.command("basic")], stdout=""))


def test_module_that_was_not_collected(app: App) -> None:
    seen = app.play("missing", stderr=".*No module named 'not_collected'.*--hidden-import.*")
    assert "ModuleNotFoundError: No module named 'not_collected'" in seen["error"]
    advice = "not_collected is not in this frozen app; build it with --hidden-import=not_collected"
    assert advice in seen["error"]
    assert seen["returncode"] == 1


def test_function_that_is_not_there(app: App) -> None:
    seen = app.play("missing_function", stderr=".*no_such_function.*")
    assert "no_such_function" in seen["error"]
    assert seen["returncode"] == 1


def test_c_extension_that_nothing_imported_before(app: App) -> None:
    seen = app.play("dynload")
    assert seen["here"] is False
    assert "lib-dynload" in seen["there"]
    assert seen["returncode"] == 0


def test_file_handles(app: App) -> None:
    assert app.play("handles") == {"pipe": "file between w fd", "returncode": 0}


def test_environment_and_directory_of_a_process(app: App) -> None:
    seen = app.play("environment")["seen"]
    assert seen == [{"env": {}, "cwd": "/"}, {"env": {"ONLY": "this"}, "cwd": "/"}]


def test_workers_make_workers(app: App) -> None:
    seen = app.play("nested")
    depths, pids, level = [], set(), seen["said"]
    while level:
        depths.append(level["depth"])
        pids.add(level["pid"])
        level = level["below"]
    assert depths == [3, 2, 1]
    assert len(pids) == 3
    assert seen["returncode"] == 0


def test_new_exec(app: App) -> None:
    seen = app.play("fresh")
    app.check_origin(seen)
    assert len({seen["pid"], *seen["pids"]}) == 3


def test_real_interpreter_is_launched_by_an_app(app: App) -> None:
    seen = app.play("foreign", sys.executable)
    assert seen == {"said": sys.executable, "returncode": 0}


@only_onefile
def test_interpreter_of_another_version_is_launched_by_an_app(
    app: App, other_pythons: dict[tuple[int, int], str]
) -> None:
    # That one can't use the app's byte code: the hook must have collected earlyfork's source.
    path = next(iter(other_pythons.values()))
    assert app.play("foreign", path) == {"said": path, "returncode": 0}


def test_prepared_process_is_handed_over(app: App) -> None:
    seen = app.play("handed_over")
    assert seen["said"]["mark"] == 42
    assert seen["returncode"] == 0


def test_commands_get_the_library_path_of_before(app: App) -> None:
    env = {**app.env(), "LD_LIBRARY_PATH": "/nowhere:/here", "OTHER": "x"}
    seen = app.play("commands", env=env)
    assert seen["here"] != "/nowhere:/here"
    assert seen["command"] == "/nowhere:/here"
    assert seen["run"] == ["/nowhere:/here"] * 6
    assert seen["loader"] == []
    assert seen["other"] == "x"
    assert seen["given"] == {"LD_LIBRARY_PATH": "/x", "A": "b"}
    assert app.play("commands")["command"] == "none"


def test_binary_is_moved_while_it_runs(app: App) -> None:
    copy = app.directory / "copy"
    if app.binary.name == "onedir":
        shutil.copytree(app.binary.parent, copy)
        app.binary = copy / "onedir"
    else:
        shutil.copy(app.binary, copy)
        app.binary = copy
    # The archive in the binary is gone with it: PyInstaller's importer says so, nothing else ends.
    seen = app.play("moved", stderr=".*")
    app.check_origin(seen)
    assert seen["said"] > 0
    assert seen["other"] == 1
    assert seen["late"] == 1


def test_doctor(app: App) -> None:
    seen = app.play("examined")
    assert (seen["health"], seen["problems"], seen["early"]) == (0, [], app.early)
    form = "one file" if app.binary.name == "onefile" else "one directory"
    assert seen["program"]["frozen"] == f"PyInstaller, {form}"
    assert seen["chosen"] == f"{app.binary} (the frozen app's own binary)"
    assert seen["launch"]["works"] is True


def test_interrupt_at_the_terminal(app: App) -> None:
    ready = app.directory / "ready"
    process = subprocess.Popen(
        app.command("interrupted", ready),
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,  # the worker's traceback
        env=app.env(),
        start_new_session=True,
    )
    with process:
        support.wait_until(lambda: ready.exists() or process.poll() is not None, 30)
        os.killpg(process.pid, signal.SIGINT)
        process.communicate(timeout=support.PATIENCE * 3)
    assert process.returncode == 0
    seen = json.loads(app.result.read_text())
    assert (seen["worker"], seen["interrupts"]) == (-signal.SIGINT, True)
    check_worker(seen)
    assert list(app.unpack.iterdir()) == []


# --- outliving the program ------------------------------------------------------------------


def outlived(app: App, how: str, **options: Any) -> dict[str, Any]:
    later = app.directory / "later"
    seen = app.play("outlive", how, later, **options)  # ends when the worker closes its stdout
    assert seen["said"] == "ready"
    support.wait_until(later.exists)
    found: dict[str, Any] = json.loads(later.read_text())
    assert found["python"] == "only_named_deeper"
    assert found["program_is_there"] is (app.binary.name == "onedir")
    return found


def test_preloaded_worker_outlives_the_program(app: App) -> None:
    seen = outlived(app, "preloaded")
    assert "_lsprof" in seen["module"]
    assert seen["own"] is False


@only_onefile
def test_worker_that_did_not_load_a_c_extension_in_time(app: App) -> None:
    # PyInstaller's bootloader waits for the program alone. Should this ever work: better.
    assert outlived(app, "bare")["module"] == "ModuleNotFoundError"


@only_onefile
def test_worker_with_its_own_directory_outlives_the_program(app: App) -> None:
    seen = outlived(app, "own")
    assert seen["own"] is True
    assert "_lsprof" in seen["module"]


# --- privileges -----------------------------------------------------------------------------


@pytest.mark.root
def test_setuid_app_obeys_no_marker(app: App) -> None:
    # Genuine in all but one thing: whoever starts a setuid program is not its owner.
    place = Path(tempfile.mkdtemp(prefix="earlyfork-setuid-"))
    try:
        place.chmod(0o755)
        if app.binary.name == "onedir":
            shutil.copytree(app.binary.parent, place / "app.d")
            copy = place / "app.d" / "onedir"
        else:
            copy = Path(shutil.copy(app.binary, place))
        copy.chmod(0o4755)
        if os.statvfs(place).f_flag & os.ST_NOSUID:
            pytest.skip("no setuid programs on this file system")
        app.binary = copy
        app.result = place / "result"
        with contextlib.ExitStack() as ending:
            ends = [end for _ in range(2) for end in socket.socketpair()]
            for end in ends:
                ending.enter_context(end)
            fds = (ends[1].fileno(), ends[3].fileno())
            seen = app.play(
                "refused",
                env={**app.env(), "EARLYFORK_SERVE": f"{fds[0]}:{fds[1]}:{os.getpid()}"},
                cwd="/",
                pass_fds=fds,
                user=65534,
                stderr=".*is ignored: this process has rights that its caller may not have.*",
            )
    finally:
        shutil.rmtree(place)
    if app.early:
        check_worker(seen)
    else:  # by launching itself again, which it does not obey either, and would never end
        assert "setuid" in seen["error"]


def test_snapshot_of_the_program(app: App) -> None:
    seen = app.play("snapshot")
    assert seen["said"] == ["word", sum(range(1000)), seen["pid"]]
    assert seen["returncode"] == 0


def test_exit_statuses(app: App) -> None:
    seen = app.play("statuses", stderr=".*RuntimeError: as asked for.*")
    assert seen["got"] == seen["wanted"]


@pytest.mark.parametrize("text", ["forged", "1:2:3", "0:0:1"])
def test_forged_marker_costs_nothing(app: App, text: str) -> None:
    env = {**app.env(), "EARLYFORK_SERVE": text}
    warning = ".*EarlyForkWarning: the environment variable EARLYFORK_SERVE is ignored.*"
    seen = app.play("basic", env=env, stderr=warning)
    app.check_origin(seen)
    check_worker(seen)


def test_multiprocessing_in_an_early_app(built_around_mp: Path, tmp_path: Path) -> None:
    # Its children run the first line again, all of them: none may fork a template.
    result = tmp_path / "result"
    done = subprocess.run(
        [built_around_mp, result],
        env={"PATH": "", "TMPDIR": str(tmp_path)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=support.PATIENCE * 6,
        check=False,
    )
    assert support.output_of(done) == ""
    seen = json.loads(result.read_text())
    assert seen.pop("early") is True
    for way, said in seen.items():
        assert said["answer"] == 49, way
        assert said["early"] is False, (way, said["reason"])
    assert seen["spawn"]["reason"] == "this process belongs to multiprocessing"


# --- without /proc, /dev and Python ---------------------------------------------------------


@only_onefile
@pytest.mark.root
def test_chroot_with_nothing_but_the_binary(app: App) -> None:
    chroot = shutil.which("chroot")
    if chroot is None or subprocess.run([chroot, "/", "/bin/true"], check=False).returncode:
        pytest.skip("chroot is not possible here")
    root = app.unpack.parent / "root"
    app.unpack = root / "tmp"
    app.unpack.mkdir(parents=True)
    shutil.copy(app.binary, root / "app")
    copy_libraries(app.binary, root)
    app.binary = Path("/app")
    command = [chroot, str(root), *app.command("basic")]
    command[command.index(str(app.result))] = "/result"
    app.result = root / "result"
    check_worker(app.finish(command, env={"TMPDIR": "/tmp"}))


def copy_libraries(binary: Path, root: Path) -> None:
    """What the dynamic loader needs for a binary, and libm, which is never packed either."""
    listed = subprocess.run(["ldd", binary], capture_output=True, text=True, check=True).stdout
    libraries = [Path(word) for word in listed.split() if word.startswith("/")]
    libc = next(library for library in libraries if library.name.startswith("libc."))
    for library in [*libraries, libc.with_name("libm.so.6")]:
        target = root / library.relative_to("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(library, target)


# --- system calls ---------------------------------------------------------------------------


def test_nothing_is_executed_when_an_early_template_serves(app: App) -> None:
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("strace is not installed")
    trace = app.directory / "trace"
    tracer = [strace, "-f", "-qq", "-e", "trace=execve", "-e", "signal=none", "-o", str(trace)]
    if subprocess.run([*tracer, "/bin/true"], check=False, stderr=subprocess.DEVNULL).returncode:
        pytest.skip("strace is not permitted here")

    def executed(processes: int) -> int:
        seen = app.finish([*tracer, *app.command("several", processes)])
        assert len(set(seen["pids"])) == processes
        return len(re.findall(r" execve\(.* = 0$", trace.read_text(), re.MULTILINE))

    assert executed(3) - executed(0) == (0 if app.early else 1)


# --- lifecycle ------------------------------------------------------------------------------


class Living(NamedTuple):
    """An app that keeps a worker and prepared processes until its stdin ends."""

    process: subprocess.Popen[bytes]
    main: int  # the program; its parent is the bootloader if that is another process
    everybody: list[int]


@pytest.fixture
def living(app: App) -> Iterator[Living]:
    """The scenario `live`, at the point where all its processes exist."""
    ready = app.directory / "ready"
    with contextlib.ExitStack() as ending:
        process = ending.enter_context(
            subprocess.Popen(
                app.command("live", ready),
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                env=app.env(),
            )
        )
        ending.callback(process.kill)
        support.wait_until(lambda: ready.exists() or process.poll() is not None, 30)
        seen = json.loads(ready.read_text())
        everybody = {process.pid, seen["main"], *seen["pids"]}
        everybody |= {pid for pid, _ in support.descendants(process.pid)}
        everybody |= {pid for found in seen["pids"] for pid in ancestors(found, os.getpid())}
        ending.callback(kill_all, everybody)
        assert all(map(support.alive, everybody))
        yield Living(process, seen["main"], sorted(everybody))


def ancestors(pid: int, up_to: int) -> Iterator[int]:
    """The parents of a process, below one of them: a template is nobody's child we know."""
    while True:
        stat = Path(f"/proc/{pid}/stat").read_text()
        pid = int(stat.rpartition(")")[2].split()[1])
        if pid in (0, 1, up_to):
            return
        yield pid


def kill_all(pids: set[int]) -> None:
    for pid in filter(support.alive, pids):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def check_no_process_left(living: Living) -> None:
    left = [support.describe(pid) for pid in living.everybody if not support.gone_within(pid)]
    assert left == []
    living.process.wait(support.PATIENCE)


def check_nothing_left(app: App, living: Living) -> None:
    check_no_process_left(living)
    assert list(app.unpack.iterdir()) == []


def test_nothing_is_left_when_the_program_ends(app: App, living: Living) -> None:
    assert len(living.everybody) >= 5
    end_stdin(living)
    check_nothing_left(app, living)
    assert living.process.returncode == 0


def end_stdin(living: Living) -> None:
    assert living.process.stdin is not None
    living.process.stdin.close()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_nothing_is_left_when_the_program_is_killed(
    app: App, living: Living, number: signal.Signals
) -> None:
    os.kill(living.main, number)
    check_nothing_left(app, living)
    assert living.process.returncode == -number


@only_onefile
def test_nothing_is_left_when_the_bootloader_is_asked_to_end(app: App, living: Living) -> None:
    assert living.process.pid != living.main
    living.process.terminate()
    check_nothing_left(app, living)
    assert living.process.returncode == -signal.SIGTERM


@only_onefile
def test_no_process_is_left_when_the_bootloader_is_killed(app: App, living: Living) -> None:
    # The unpacked directory stays: with PyInstaller 6.22 that is so for any program, since the
    # bootloader alone removes it, and the program goes on without it.
    assert living.process.pid != living.main
    living.process.kill()
    living.process.wait(support.PATIENCE)
    assert support.alive(living.main)
    end_stdin(living)
    check_no_process_left(living)
    shutil.rmtree(app.unpack)
