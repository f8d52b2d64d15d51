"""Runs the core tests on CPythons that this machine does not have: Debian's newest, each in a root.

    python tests/interpreters.py [--only 3.14] [pytest arguments]

Debian's packages are unpacked into .interpreters/NAME (no debootstrap, nothing is installed here), a
venv is made in it, and the core tests of matrix.py run there by chroot, with this tree mounted at
/tree for the time of the run. Needs root, apt-get and an index of packages. The long way to see what
comes: not for every day. Last results: the table of platforms in README.md.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import matrix

ROOT = matrix.ROOT
ROOTS = ROOT / ".interpreters"
SOURCE = "deb http://deb.debian.org/debian sid main\n"
ALWAYS = ["bash", "coreutils", "dash", "gcc", "libc-bin", "libc6-dev", "procps", "util-linux"]


class Interpreter(NamedTuple):
    """What to unpack, and which of its programs is the interpreter."""

    name: str
    packages: list[str]
    executable: str


WANTED = [
    Interpreter("3.14", ["python3.14-venv", "python3.14-dev"], "python3.14"),
    Interpreter("3.15", ["python3.15-venv", "python3.15-dev"], "python3.15"),
    Interpreter(
        "3.14-debug", ["python3.14-venv", "python3.14-dev", "python3.14-dbg"], "python3.14d"
    ),
]


def run(command: list[str], **more: object) -> None:
    """Run a command that has to work."""
    done = subprocess.run(command, check=False, **more)  # type: ignore[call-overload]
    if done.returncode:
        raise SystemExit(f"interpreters: {' '.join(command)} failed with {done.returncode}")


def unpacked(wanted: Interpreter) -> Path:
    """A root with that interpreter in it."""
    root = ROOTS / wanted.name
    if (root / "done").exists():
        return root
    shutil.rmtree(root, ignore_errors=True)
    state = root / "tmp" / "apt"
    for part in ("lists/partial", "cache/archives/partial"):
        (state / part).mkdir(parents=True)
    (state / "sources.list").write_text(SOURCE)
    (state / "status").touch()
    apt = ["apt-get", "--quiet=2"]
    for key, value in {
        "Dir::Etc::SourceList": "sources.list",
        "Dir::Etc::SourceParts": "none",
        "Dir::State::Lists": "lists",
        "Dir::State::status": "status",
        "Dir::Cache": "cache",
    }.items():
        apt += ["-o", f"{key}={state / value}"]
    run([*apt, "update"])
    install = ["install", "--yes", "--no-install-recommends", "--download-only"]
    run([*apt, *install, "base-files", *ALWAYS, *wanted.packages])
    packages = sorted((state / "cache/archives").glob("*.deb"))
    packages.sort(key=lambda path: not path.name.startswith("base-files_"))  # it makes /bin a link
    for package in packages:
        run(["dpkg-deb", "--extract", str(package), str(root)])
    shutil.rmtree(state)
    for name in ("proc", "dev", "sys", "tree", "tmp", "root"):
        (root / name).mkdir(exist_ok=True)
    (root / "tmp").chmod(0o1777)
    for name in ("hosts", "passwd", "group"):
        shutil.copy(Path("/etc", name), root / "etc" / name)
    (root / "done").touch()
    return root


def inside(root: Path, script: str) -> int:
    """The status of a shell's script in that root, where /proc, /dev and this tree are mounted."""
    mounts = [
        f"mount -t proc proc {root}/proc",
        f"mount --rbind /dev {root}/dev",
        f"mount --bind {ROOT} {root}/tree",
        f'exec chroot {root} /bin/bash -c "$1"',
    ]
    words = ["unshare", "--mount", "--propagation", "private", "sh", "-ec", "; ".join(mounts), "sh"]
    env = {name: value for name, value in os.environ.items() if name.startswith("EARLYFORK")}
    env |= {"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "HOME": "/root", "LANG": "C.UTF-8"}
    return subprocess.run([*words, script], env=env, check=False).returncode


def outfit(root: Path, version: str) -> None:
    """A venv in the root, with what the tests need: installed from here, where pip knows its index.

    What has no wheel for that interpreter yet is left out, and the tests that want it skip themselves.
    """
    if inside(root, f"python{version} -m venv --clear --without-pip /venv"):
        raise SystemExit(f"interpreters: no venv can be made of python{version}")
    release = version.rstrip("d")
    place = root / "venv/lib" / f"python{release}" / "site-packages"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "install"]
    pip += ["--target", str(place), "--only-binary", ":all:", "--python-version", release]
    for glibc in (17, 24, 26, 27, 28, 31, 34, 35):
        pip += ["--platform", f"manylinux_2_{glibc}_x86_64"]
    pip += ["--platform", "manylinux2014_x86_64"]
    for requirement in ("pip", "setuptools>=77", "wheel", *matrix.requirements()):
        done = subprocess.run([*pip, requirement], capture_output=True, check=False)
        if done.returncode:
            print(f"SKIPPED: {requirement} can't be installed", flush=True)


def tested(wanted: Interpreter, arguments: list[str]) -> bool:
    """Set it up, and run the tests; whether all passed."""
    print(f"=== {wanted.name}", flush=True)
    begun = time.monotonic()
    root = unpacked(wanted)
    if not (root / "venv/outfit").exists():
        outfit(root, wanted.executable.removeprefix("python"))
        (root / "venv/outfit").touch()
    setup = (
        "/venv/bin/python -m pip --quiet install --no-index --no-deps --no-build-isolation "
        "--force-reinstall --root-user-action=ignore /tree/dist/earlyfork-*.tar.gz && "
        "/venv/bin/python -VV && /venv/bin/python -m earlyfork doctor | head -8"
    )
    if inside(root, setup):
        print(f"=== {wanted.name}: earlyfork can't be installed", flush=True)
        return False
    selected = " ".join(f"'{word}'" for word in arguments or matrix.selected(matrix.CORE))
    # The tree belongs to whoever works on it: caches and results are written elsewhere.
    command = (
        "cd /tree && PYTHONDONTWRITEBYTECODE=1 /venv/bin/python -m pytest -q "
        f"-o cache_dir=/tmp/cache {selected}"
    )
    failed = inside(root, command)
    print(f"=== {wanted.name}: {'FAILED' if failed else 'passed'}, ", end="")
    print(f"{time.monotonic() - begun:.0f} s", flush=True)
    return not failed


def main() -> int:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", action="append", metavar="NAME")
    options, arguments = parser.parse_known_args()
    found = [one for one in WANTED if options.only is None or one.name in options.only]
    results = [tested(one, arguments) for one in found]
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
