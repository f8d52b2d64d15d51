"""One program, packed by every tool but PyInstaller (tests/frozen has that), early and by exec.

Each is built once a run, in a second or few. What takes minutes to build is in `make test-nuitka`
and `make test-uwsgi`.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys
import zipapp
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import support

if TYPE_CHECKING:
    from collections.abc import Callable

HERE = Path(__file__).parent

pytestmark = [pytest.mark.frozen, pytest.mark.timeout(180)]

#: How each is started, below the directory that it was built in.
COMMANDS = {
    "zipapp": ["{python}", "app.pyz"],
    "shiv": ["{python}", "app.pyz"],
    "pex": ["{python}", "app.pex"],
    "cx_Freeze": ["app/host_app"],
}
NEEDS = {"shiv": "shiv", "pex": "pex", "cx_Freeze": "cx_Freeze"}


# --- building -------------------------------------------------------------------------------


@pytest.fixture(params=COMMANDS)
def host(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Host:
    """Each way to pack, built by whichever worker of this run comes first."""
    kind = request.param
    if kind in NEEDS and not importlib.util.find_spec(NEEDS[kind]):
        pytest.skip(f"{NEEDS[kind]} is not installed")

    def build(place: Path) -> None:
        sources = place / "sources"
        shutil.copytree(HERE / "program", sources, ignore=shutil.ignore_patterns("__pycache__"))
        BUILD[kind](place, sources)

    place = support.built_once(f"packed-{kind}", tmp_path_factory, build)
    return Host(kind, place)


def add_earlyfork(sources: Path) -> None:
    """What `pip install --target` would do, without pip."""
    package = support.home_of_earlyfork() / "earlyfork"
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(package, sources / "earlyfork", ignore=ignore)


def tool(place: Path, *words: object) -> None:
    command = [sys.executable, *map(str, words)]
    env = {"PEX_ROOT": str(place / "pex-root")}
    support.run_command(command, directory=place, env=env, check=True, timeout=170)


def build_zipapp(place: Path, sources: Path) -> None:
    add_earlyfork(sources)
    (sources / "host_app.py").rename(sources / "__main__.py")
    zipapp.create_archive(sources, place / "app.pyz")


def build_shiv(place: Path, sources: Path) -> None:
    add_earlyfork(sources)
    options = ["--site-packages", sources, "-e", "host_app:main", "-o", "app.pyz"]
    tool(place, "-m", "shiv", *options)


def build_pex(place: Path, sources: Path) -> None:
    add_earlyfork(sources)
    tool(place, "-m", "pex", "-D", sources, "-m", "host_app", "-o", "app.pex")


def build_cx_freeze(place: Path, sources: Path) -> None:
    add_earlyfork(sources)
    options = ["--packages", "earlyfork", "--includes", "host_work", "--build-exe", place / "app"]
    script = sources / "host_app.py"
    tool(sources, "-m", "cx_Freeze", "--script", script, "build_exe", *options, "--silent")


BUILD: dict[str, Callable[[Path, Path], None]] = {
    "zipapp": build_zipapp,
    "shiv": build_shiv,
    "pex": build_pex,
    "cx_Freeze": build_cx_freeze,
}


class Host:
    """The program in one of its packings."""

    def __init__(self, kind: str, place: Path) -> None:
        self.kind, self.place = kind, place

    def run(self, origin: str, directory: Path, **env: str) -> Any:
        """Run it to its end in an empty directory; what it printed."""
        first, *rest = COMMANDS[self.kind]
        command = [sys.executable if first == "{python}" else str(self.place / first)]
        command += [str(self.place / word) for word in rest]
        changes = {
            "PYTHONPATH": None,
            "SHIV_ROOT": str(self.place / "shiv-root"),
            "PEX_ROOT": str(self.place / "pex-root"),
            **env,
        }
        done = support.run_command(
            [*command, origin], directory=directory, env=changes, timeout=support.PATIENCE * 6
        )
        return json.loads(support.output_of(done))


# --- what must be so ------------------------------------------------------------------------


def check(found: dict[str, Any]) -> None:
    assert "error" not in found
    for way in ("new", "new_exec"):
        said = found[way]
        assert said["pid"] != found["pid"]
        assert said["piped"] == "pipe got word"
        assert said["version"] == found["version"]
        assert said["app_in_main"] is False
        assert said["returncode"] == 0


def test_early(host: Host, tmp_path: Path) -> None:
    # shiv's bootstrap calls an entry point: which module is the program is not to be seen there.
    env = {"EARLYFORK": "1"} if host.kind == "shiv" else {}
    found = host.run("early", tmp_path, **env)
    assert found["early"] is True, found["reason"]
    check(found)


def test_exec(host: Host, tmp_path: Path) -> None:
    if host.kind == "cx_Freeze":  # its own binary, whose first line catches the marker
        found = host.run("early", tmp_path, EARLYFORK="0")
        assert "frozen app's own binary" in found["interpreter"]
    else:
        found = host.run("library", tmp_path)
        assert found["interpreter"].startswith(found["executable"])
    assert found["early"] is False
    check(found)


def test_snapshot(host: Host, tmp_path: Path) -> None:
    if host.kind == "shiv":
        pytest.skip("shiv calls an entry point: the program is not __main__, and can't be told")
    assert host.run("snapshot", tmp_path) == "bare"


def test_library_in_an_app_that_would_run_twice(host: Host, tmp_path: Path) -> None:
    if host.kind != "cx_Freeze":
        pytest.skip("a real Python is launched, which runs no app")
    found = host.run("library", tmp_path)
    assert "the app would run a second time. Add the import as the first line" in found["error"]
