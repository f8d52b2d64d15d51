"""Runs the core tests on every CPython from 3.10 up that this machine has, skipping by name.

    python tests/matrix.py [--done PYTHON] [--only 3.12] [--all] [pytest arguments]
    python tests/matrix.py --extra NAME --into PYTHON

Needs the sdist that the Makefile builds into dist/. Each version gets a venv in .venvs/, kept
from run to run. Stdlib only, since it runs before anything is installed. The second form installs
what an extra of pyproject.toml names, one by one: what can't be had here costs nothing else.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
VENVS = ROOT / ".venvs"
#: What the package promises. A version beyond is run too, when it is here.
PROMISED = [(3, minor) for minor in range(10, 15)]
#: What may go otherwise on another Python. All else (frozen apps, hosts, faults, examples, the
#: repetitions marked slow) is tested with the base interpreter only.
CORE = [
    *("contract", "early", "test_interpreter.py", "lifelines", "mp"),
    *("aio/test_aio.py", "rpc/test_calls.py", "rpc/test_values.py"),
    *("test_later.py", "test_replaced.py", "test_snapshot.py", "test_threads.py", "test_wire.py"),
]
#: What of that is run where an older and a newer one run all of it.
BETWEEN = ["contract", "early", "rpc/test_calls.py", "test_wire.py"]
PROBE = (
    "import sys; print(sys.implementation.name, *sys.version_info[:3], "
    "sys.version_info.releaselevel, getattr(sys, 'abiflags', ''), sys.executable, sep='|')"
)


def selected(parts: list[str]) -> list[str]:
    """What is said to pytest to run these."""
    return ["-m", "not frozen and not slow", *(f"tests/{part}" for part in parts)]


class Python(NamedTuple):
    """One interpreter of this machine."""

    version: tuple[int, int, int]
    executable: str

    @property
    def name(self) -> str:
        return "CPython " + ".".join(map(str, self.version))


def candidates() -> list[str]:
    """Where interpreters may be: pyenv's versions, and the names on PATH."""
    roots = {Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")}
    if pyenv := shutil.which("pyenv"):
        told = subprocess.run([pyenv, "root"], capture_output=True, text=True, check=False)
        roots |= {Path(line) for line in told.stdout.split("\n") if line}
    found = [str(path) for root in roots for path in sorted(root.glob("versions/3.*/bin/python"))]
    for directory in os.get_exec_path():
        if Path(directory).name != "shims" and Path(directory).is_dir():
            paths = sorted(Path(directory).iterdir())
            found += [str(path) for path in paths if re.fullmatch(r"python3(\.\d+)?", path.name)]
    return found


def probe(executable: str) -> Python | None:
    """What an executable is; None when it is no CPython release that can make a venv."""
    try:
        done = subprocess.run(
            [executable, "-I", "-c", PROBE + "; import ensurepip, venv"],
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    name, major, minor, micro, level, flags, path = done.stdout.strip().split("|")
    version = (int(major), int(minor), int(micro))
    if name != "cpython" or version < (3, 10) or level != "final" or "t" in flags:
        return None
    return Python(version, path)


def newest_of_each() -> dict[tuple[int, int], Python]:
    """The newest release of each minor version."""
    with ThreadPoolExecutor(4) as threads:
        found = sorted(filter(None, threads.map(probe, dict.fromkeys(candidates()))))
    return {python.version[:2]: python for python in found}


def requirements(extra: str = "test") -> list[str]:
    """What an extra names (read by eye of a regex: tomllib is not in 3.10)."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    found = re.search(rf"^{extra} = \[(.*?)\]$", text, re.MULTILINE | re.DOTALL)
    if found is None:
        raise SystemExit(f"matrix: pyproject.toml has no extra {extra!r}")
    return re.findall(r'"([^"]+)"', found[1])


def pip_install(inner: str) -> list[str]:
    return [inner, "-m", "pip", "--disable-pip-version-check", "--quiet", "install"]


def one_by_one(inner: str, wanted: list[str]) -> None:
    """Install what can be had here; name the rest. Who can't do without it will say so."""
    for requirement in wanted:
        command = [*pip_install(inner), requirement]
        if subprocess.run(command, capture_output=True, check=False).returncode:
            print(f"SKIPPED: {requirement} can't be installed here", flush=True)


def install(python: Python, sdist: Path) -> Path:
    """Make or renew the venv for an interpreter; return its own python."""
    venv = VENVS / ".".join(map(str, python.version))
    inner = venv / "bin" / "python"
    pip = pip_install(str(inner))
    wanted = hashlib.sha256(repr((python, "setuptools", requirements())).encode()).hexdigest()
    stamp = venv / "requirements.sha256"
    if not stamp.exists() or stamp.read_text() != wanted or not inner.exists():
        run([python.executable, "-m", "venv", "--clear", str(venv)])
        run([*pip, "setuptools>=77", "wheel"])
        together = subprocess.run([*pip, *requirements()], capture_output=True, check=False)
        if together.returncode:
            one_by_one(str(inner), requirements())
        stamp.write_text(wanted)
    built = hashlib.sha256(sdist.read_bytes()).hexdigest()
    stamp = venv / "sdist.sha256"
    if not stamp.exists() or stamp.read_text() != built:
        run([*pip, "--no-deps", "--no-build-isolation", "--force-reinstall", str(sdist)])
        stamp.write_text(built)
    return inner


def run(command: list[str]) -> None:
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"matrix: {' '.join(command)} failed\n{done.stdout}")


def main() -> int:
    """Run all, say what was skipped, and fail when any failed."""
    parser = argparse.ArgumentParser(description=__doc__, usage="%(prog)s [options] [pytest args]")
    parser.add_argument("--done", help="an interpreter whose version was tested already")
    parser.add_argument("--only", action="append", help="minor versions to run, such as 3.12")
    parser.add_argument("--all", action="store_true", help="all core tests in the middle ones, too")
    parser.add_argument("--extra", help="install this extra instead, as far as it can be had")
    parser.add_argument("--into", default=sys.executable, help="where that is installed")
    options, pytest_args = parser.parse_known_args()
    if options.extra:
        one_by_one(options.into, requirements(options.extra))
        return 0
    sdists = sorted((ROOT / "dist").glob("earlyfork-*.tar.gz"))
    if not sdists:
        raise SystemExit("matrix: no sdist in dist/; run it by `make matrix`")
    pythons = newest_of_each()
    done = probe(options.done) if options.done else None
    lines, chosen = [], []
    for minor in sorted({*PROMISED, *pythons}):
        label = ".".join(map(str, minor))
        if options.only and label not in options.only:
            continue
        if done and minor == done.version[:2]:
            lines.append(f"SKIPPED: {done.name} already run")
        elif minor not in pythons:
            lines.append(f"SKIPPED: CPython {label} not found on this machine")
        else:
            chosen.append(pythons[minor])
    with ThreadPoolExecutor(2) as threads:  # making venvs is half waiting for the disk
        inners = list(threads.map(lambda python: install(python, sdists[-1]), chosen))
    ends = (chosen[0], chosen[-1]) if chosen and not options.all else chosen
    failed = False
    for python, inner in zip(chosen, inners, strict=True):
        print(f"\n--- matrix: {python.name} ({python.executable})", flush=True)
        began = time.monotonic()
        cache = f"cache_dir=.venvs/cache-{inner.parent.parent.name}"
        parts = CORE if python in ends else BETWEEN
        command = [str(inner), "-m", "pytest", "-q", "-o", cache, *selected(parts)]
        status = subprocess.run([*command, *pytest_args], cwd=ROOT, check=False).returncode
        if status == 1:
            print("=== UNSTABLE, unless it fails again: what failed above, one test at a time")
            again = ["-n", "0", "--last-failed", "--last-failed-no-failures=none"]
            status = subprocess.run(
                [*command, *again, *pytest_args], cwd=ROOT, check=False
            ).returncode
        failed |= status != 0
        word = "FAILED" if status else "passed"
        some = "" if parts is CORE else f" ({', '.join(parts)}; all by --all)"
        lines.append(f"{word}: {python.name} in {time.monotonic() - began:.0f} s{some}")
    print("\n--- matrix", *lines, sep="\n", flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
