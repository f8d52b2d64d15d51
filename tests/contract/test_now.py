"""SEMANTICS: the child starts as if the caller had started it *now*."""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING

import pytest
import work

import earlyfork

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Make = Callable[..., earlyfork.Process]


def test_environment(make_now: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADDED_LATE", "wörd")
    monkeypatch.delenv("HOME", raising=False)
    assert work.got(make_now().run(work.environment)) == dict(os.environ)
    monkeypatch.delenv("ADDED_LATE")
    assert "ADDED_LATE" not in work.got(make_now().run(work.environment))


def test_cwd_and_path(make_now: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "only_here.py").write_text("VALUE = 'found'")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    process = make_now().eval("import only_here; assert only_here.VALUE == 'found'").ready(10)
    seen = work.got(process.run(work.surroundings))
    assert seen["cwd"] == str(tmp_path)
    assert seen["path"] == sys.path


def test_a_directory_that_was_replaced_is_the_callers(
    make_now: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    place = tmp_path / "place"
    place.mkdir()
    monkeypatch.chdir(place)
    place.rename(tmp_path / "moved")
    place.mkdir()
    assert work.got(make_now().run(work.surroundings))["cwd"] == str(tmp_path / "moved")


def test_streams(make_now: Make, tmp_path: Path) -> None:
    saved = [os.dup(fd) for fd in (0, 1, 2)]
    try:
        with open(tmp_path / "out", "w+") as out:
            os.dup2(out.fileno(), 1)
            os.close(0)
            process = make_now().eval("print('hello')")
            seen = work.got(process.run(work.surroundings))
            assert process.wait(10) == 0
            assert seen["streams"][1] == os.fstat(out.fileno()).st_ino
            assert seen["streams"][0] == os.stat(os.devnull).st_ino
    finally:
        for fd, copy in enumerate(saved):
            os.dup2(copy, fd)
            os.close(copy)
    assert (tmp_path / "out").read_text() == "hello\n"


def test_env_and_cwd_override_before_any_import(make_now: Make, tmp_path: Path) -> None:
    (tmp_path / "reads_env.py").write_text("import os; SEEN = os.environ['OMP_NUM_THREADS']")
    env = {"OMP_NUM_THREADS": "1", "PATH": "/bin"}
    env.update({k: v for k, v in os.environ.items() if k.startswith(("LD_", "PYTHON", "MALLOC_"))})
    process = make_now(env=env, cwd=tmp_path)
    process.eval("import sys; sys.path.insert(0, '')").require("reads_env")
    process.eval("import reads_env; assert reads_env.SEEN == '1'").ready(10)
    seen = work.got(process.run(work.environment))
    assert seen == env


def test_bad_env_and_cwd(make_now: Make, tmp_path: Path) -> None:
    for bad in ({"A=B": "1"}, {"": "1"}, {"A": "\0"}):
        with pytest.raises(ValueError, match="environment"):
            make_now(env=bad)
    with pytest.raises(TypeError, match="maps str"):
        make_now(env={"A": 1})
    with pytest.raises(FileNotFoundError, match="no-such"):
        make_now(cwd=tmp_path / "no-such")
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        make_now(cwd=tmp_path / "file")


def test_variables_that_cannot_take_effect_are_named(make_now: Make, early: bool) -> None:
    if make_now is earlyfork.new_exec and not early:
        process = make_now(env={**os.environ, "MALLOC_ARENA_MAX": "1"})  # launched with it
    else:
        with pytest.warns(earlyfork.EarlyForkWarning, match="MALLOC_ARENA_MAX, PYTHONHASHSEED"):
            process = make_now(env={**os.environ, "MALLOC_ARENA_MAX": "1", "PYTHONHASHSEED": "7"})
    assert work.got(process.run(work.environment))["MALLOC_ARENA_MAX"] == "1"


def test_one_childs_environment_is_not_the_next_ones(make_now: Make) -> None:
    env = {**os.environ, "SECRET": "of the first"}
    assert work.got(make_now(env=env).run(work.environment))["SECRET"] == "of the first"
    assert "SECRET" not in work.got(make_now().run(work.environment))


def test_clones_keep_what_their_template_was_prepared_with(
    make_now: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREPARED", "then")
    template = make_now()
    monkeypatch.setenv("PREPARED", "now")
    assert work.got(template.fork().run(work.environment))["PREPARED"] == "then"


def test_main_is_fresh(make_now: Make) -> None:
    seen = work.got(make_now().run(work.surroundings))
    assert seen["argv"] == [""]
    assert "__file__" not in seen["main"]
    assert [name for name in seen["main"] if not name.startswith("__")] == []


@pytest.mark.parametrize("order", ["first", "later"])
def test_the_time_zone(make_now: Make, monkeypatch: pytest.MonkeyPatch, order: str) -> None:
    def zone(process: earlyfork.Process) -> object:
        if order == "later":
            process.ready(10)
        return work.got(process.run(work.zone))

    assert zone(make_now(env={**os.environ, "TZ": "JST-9"})) == ("JST", "JST", -32400)
    monkeypatch.setenv("TZ", "EST5")
    assert zone(make_now()) == ("EST", "EST", 18000)
    monkeypatch.delenv("TZ")
    assert zone(make_now())[0] not in {"EST", "JST"}


@pytest.mark.parametrize("name", ["LC_ALL", "LD_PRELOAD", "MALLOC_ARENA_MAX", "PYTHONHASHSEED"])
def test_what_is_read_at_start_only(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """By `env=` and by a change of `os.environ` alike."""
    value = "7" if name != "LC_ALL" else "xx_XX.ISO-8859-1"
    earlyfork.new().close()
    with pytest.warns(earlyfork.EarlyForkWarning, match=name):
        process = earlyfork.new(env={**os.environ, name: value})
    assert work.got(process.run(work.environment))[name] == value
    monkeypatch.setenv(name, value)
    with pytest.warns(earlyfork.EarlyForkWarning, match=name):
        process = earlyfork.new()
    assert work.got(process.run(work.environment))[name] == value


def test_a_locale_of_the_same_encoding_is_no_news(monkeypatch: pytest.MonkeyPatch) -> None:
    """A warning would be an error here."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("L")}
    earlyfork.new(env={**env, "LANG": "C.UTF-8"}).close()
    earlyfork.new(env={**env, "LC_CTYPE": "C.UTF-8"}).close()
    monkeypatch.delenv("LANG", raising=False)
    earlyfork.new(env=env).close()


def test_what_is_the_templates_and_not_the_callers(make_now: Make, early: bool) -> None:
    """The README's table: only a template that is launched for this process has it from now."""
    first = make_now()  # kept, since a template may end with its process
    before = work.got(first.run(work.of_the_kernel))
    umask = os.umask(0o37)
    handler = signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    try:
        second = make_now()
        now = work.got(second.run(work.of_the_kernel))
    finally:
        signal.signal(signal.SIGUSR1, handler)
        os.umask(umask)
    launched_now = make_now is earlyfork.new_exec and not early
    assert now["umask"] == (0o37 if launched_now else before["umask"])
    assert now["ignored"] is False
    assert os.getpid() not in {before["parent"], now["parent"]}
