"""Whether installers take the right wheel of a folder for each tag, and whether that works.

    python release/check.py OUT             # by pip's own choice, and in each CPython found here
    python release/check.py OUT --aarch64   # in Debian's CPython for aarch64, under qemu-user

The second form needs Debian's qemu-user-static and apt-get; it unpacks an aarch64 CPython with its
libraries into .headers/aarch64, and needs neither root nor a container.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import sys
import tempfile
import zipfile
from pathlib import Path

import wheels

PROGRAM = Path(__file__).with_name("first_program.py")
#: Of the same release as this machine, whose keys it knows.
DEBIAN = "deb [arch=arm64] http://deb.debian.org/debian {} main"
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]


def chosen(folder: Path, version: str, platform: str) -> str:
    """The file that pip takes for a platform."""
    abi = "cp" + version.replace(".", "")
    with tempfile.TemporaryDirectory() as name:
        options = ["--no-index", "--find-links", folder, "--no-deps", "--only-binary", ":all:"]
        target = ["--platform", platform, "--python-version", version, "--abi", abi]
        wheels.run([*PIP, "download", *options, *target, "--dest", name, "earlyfork"])
        return next(Path(name).iterdir()).name


def check_choice(folder: Path) -> None:
    """Each tag gets the wheel of its name; a platform without one gets the one for all."""
    there = sorted(path.name for path in folder.glob("*.whl"))
    versions = sorted({found[1] for name in there if (found := re.search(r"-cp3(\d+)-", name))})
    for minor in versions:
        for target in wheels.TARGETS:
            for tag in target.tags:
                found = chosen(folder, f"3.{minor}", tag)
                assert f"-cp3{minor}-" in found, (tag, found)
                assert tag in found, (tag, found)
        found = chosen(folder, f"3.{minor}", "macosx_11_0_arm64")
        assert found.endswith("-py3-none-any.whl"), found
    print(f"pip takes the right one of {len(there)} for {', '.join('3.' + v for v in versions)}")


def check_installs(folder: Path) -> None:
    """In each CPython of this machine, from nothing but the folder and without a compiler."""
    sys.path.insert(0, str(wheels.ROOT / "tests"))
    import matrix

    for python in matrix.newest_of_each().values():
        with tempfile.TemporaryDirectory() as name:
            wheels.run([python.executable, "-m", "venv", "--without-pip", name])
            inner = f"{name}/bin/python"
            pip = [*PIP, "--python", inner, "install", "--no-index", "--find-links", folder]
            wheels.run([*pip, "--only-binary", ":all:", "earlyfork"])
            program = shutil.copy(PROGRAM, name)
            print(wheels.run([inner, program, "in C"], cwd=name), end="")


def aarch64() -> Path:
    """The root of an unpacked Debian with a CPython for aarch64."""
    root = wheels.HEADERS / "aarch64"
    if not (root / "done").exists():
        suite = next(
            line.split("=")[1].strip()
            for line in Path("/etc/os-release").read_text(encoding="utf-8").splitlines()
            if line.startswith("VERSION_CODENAME=")
        )
        with tempfile.TemporaryDirectory() as name:
            apt = wheels.apt(Path(name), DEBIAN.format(suite))
            apt += ["-o", "APT::Architecture=arm64", "-o", "APT::Architectures=arm64"]
            apt += ["-o", f"Dir::State::status={name}/status"]
            Path(name, "status").touch()
            wheels.run([*apt, "update"])
            install = ["install", "--yes", "--no-install-recommends", "--download-only"]
            wheels.run([*apt, *install, "python3-minimal", "libpython3-stdlib", "libc-bin"])
            for package in Path(name, "cache/archives").glob("*.deb"):
                wheels.run(["dpkg-deb", "--extract", package, root])
        (root / "done").touch()
    return root


def check_aarch64(folder: Path) -> None:
    """The program under qemu-user, whose own thread forbids an early template: one is launched."""
    root = aarch64()
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        python = place / "python"
        real = next((root / "usr/bin").glob("python3.*[0-9]"))
        python.write_text(f'#!/bin/sh\nexec qemu-aarch64-static -L {root} {real} "$@"\n')
        python.chmod(0o755)
        version = real.name.removeprefix("python")
        tag = f"cp{version.replace('.', '')}"
        wheel = next(folder.glob(f"*-{tag}-*manylinux*_aarch64.whl"))
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(place / "site")
        env = {**os.environ, "PYTHONPATH": str(place / "site"), "EARLYFORK_PYTHON": str(python)}
        said = wheels.run([python, "-W", "ignore", PROGRAM, "in C"], env=env, cwd=name)
        print(said, end="")
        assert "aarch64" in said


def main() -> int:
    """Check what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--aarch64", action="store_true", help="under qemu-user")
    options = parser.parse_args()
    folder = options.folder.resolve()
    if options.aarch64:
        check_aarch64(folder)
    else:
        check_choice(folder)
        check_installs(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
