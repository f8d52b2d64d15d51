"""Where the probes run: a bare venv with the wheel of this very tree in it, bytecode compiled.

A machine's own .pth files can load a hundred modules into every interpreter and triple the cost of
each fork, so nothing is measured in a venv that people use.
"""

from __future__ import annotations

import compileall
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
PROBES = HERE / "probes"


class ProbeError(Exception):
    """A probe failed, or what it needs is not on this machine."""


class Stage:
    """A bare venv, and probes run in it one at a time."""

    def __init__(self, python: str, source: Path | None = None, *, root: Path = ROOT) -> None:
        """Build it from `python`.

        Args:
            python: the interpreter that the venv is made from.
            source: a tree to take as it is, instead of a wheel.
            root: the checkout to build the wheel of.
        """
        self.root = root
        self.env: dict[str, str] = {}  # for every probe
        self.base = Path(tempfile.mkdtemp(prefix="earlyfork-bench-"))
        self.probes = self.base / "probes"
        shutil.copytree(PROBES, self.probes, ignore=shutil.ignore_patterns("__pycache__"))
        command = [python, "-m", "venv", "--without-pip", str(self.base / "venv")]
        subprocess.run(command, check=True)
        self.python = str(self.base / "venv" / "bin" / "python")
        site = next((self.base / "venv" / "lib").glob("python3*")) / "site-packages"
        if source is None:
            zipfile.ZipFile(self._wheel()).extractall(site)
        else:
            shutil.copytree(source / "earlyfork", site / "earlyfork")
        for folder in (site, self.probes):
            subprocess.run([self.python, "-m", "compileall", "-q", str(folder)], check=True)

    def _wheel(self) -> Path:
        """Build the wheel from a copy: setuptools leaves things behind where it builds."""
        tree = self.base / "tree"
        tree.mkdir()
        for name in ("src", "hooks"):
            skip = shutil.ignore_patterns("__pycache__", "*.egg-info")
            shutil.copytree(self.root / name, tree / name, ignore=skip)
        for path in self.root.iterdir():
            if path.is_file():
                shutil.copy(path, tree)
        command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "wheel"]
        command += ["--no-deps", "--wheel-dir", str(self.base), str(tree)]
        if modern_setuptools():
            command.append("--no-build-isolation")
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise ProbeError(f"the wheel can't be built:\n{done.stdout}{done.stderr}")
        return next(self.base.glob("earlyfork-*.whl"))

    def probe(
        self,
        name: str,
        figure: str,
        *,
        flags: tuple[str, ...] = (),
        env: dict[str, str] | None = None,
        python: str | None = None,
        limit: float = 120,
        **wish: object,
    ) -> dict[str, Any]:
        """Run one probe and return what it printed.

        Raises:
            ProbeError: it failed; carries the end of what it said.
        """
        words = [figure, *(f"{key}={value}" for key, value in wish.items())]
        program = [python or self.python, *flags]
        if name.endswith(".pl"):
            program = ["perl"]
        path = self.probes / (name if "." in name else f"{name}.py")
        command = [*program, str(path), *words]
        clean = {key: os.environ[key] for key in ("PATH", "HOME", "LANG") if key in os.environ}
        try:
            done = subprocess.run(
                command,
                env={**clean, **self.env, **(env or {})},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=limit,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ProbeError(f"{name} {figure}: {error}") from error
        if done.returncode:
            said = (done.stderr or done.stdout).strip().splitlines()[-1:] or ["nothing said"]
            raise ProbeError(f"{name} {' '.join(words)} failed ({done.returncode}): {said[0]}")
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def close(self) -> None:
        """Remove everything."""
        shutil.rmtree(self.base, ignore_errors=True)


def modern_setuptools() -> bool:
    """Whether the harness's own setuptools can build the wheel; else pip fetches one."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return int(version("setuptools").partition(".")[0]) >= 77 and bool(version("wheel"))
    except PackageNotFoundError:
        return False


def base_python() -> str:
    """The interpreter that this one's venv was made from."""
    return getattr(sys, "_base_executable", sys.executable)


def compile_tree(folder: Path) -> None:
    """Compile what a probe imports from a source tree."""
    compileall.compile_dir(folder, quiet=2)
