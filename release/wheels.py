"""Builds every wheel of a release on one machine, without containers, and looks at each.

    python release/wheels.py SDIST OUT [--only 3.12]

One wheel is for any machine, without the part in C. For each CPython, C library and processor there
is another one with it. `zig cc` (PyPI: ziglang) compiles them all: it is clang with the headers and
symbol versions of every glibc and musl. What is needed of CPython are its headers: those of the
interpreters on this machine, and of Debian's packages for the rest. The headers say the same for
both processors (SIZES checks what could differ), so one set serves both.

Needs what the extra `wheels` names. SOURCE_DATE_EPOCH says the time in the archives: with the same
sources and the same zig, the same bytes come out. `--prove` builds twice and compares.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
HEADERS = ROOT / ".headers"
VERSIONS = [f"3.{minor}" for minor in range(10, 15)]
#: Where Debian's newest packages are listed: it has a CPython that is younger than the machine.
DEBIAN = "deb http://deb.debian.org/debian sid main"

FLAGS = [
    *("-shared", "-fPIC", "-O2", "-DNDEBUG", "-D_GNU_SOURCE", "-std=c11", "-fvisibility=hidden"),
    *("-fwrapv", "-fno-sanitize=undefined", "-g0", "-Wl,--build-id=none", "-Wl,-s"),
    # A macro of musl's compares signs.
    *("-Wall", "-Wextra", "-Werror", "-Wno-sign-compare"),
]
#: What the headers of another processor could say otherwise, as far as a module can see it.
SIZES = """\
#include <Python.h>
_Static_assert(sizeof(long) == SIZEOF_LONG && sizeof(void *) == SIZEOF_VOID_P, "");
_Static_assert(sizeof(size_t) == SIZEOF_SIZE_T && sizeof(long long) == SIZEOF_LONG_LONG, "");
_Static_assert(sizeof(int) == SIZEOF_INT && sizeof(short) == SIZEOF_SHORT, "");
_Static_assert(sizeof(off_t) == SIZEOF_OFF_T && sizeof(pid_t) == SIZEOF_PID_T, "");
_Static_assert(sizeof(wchar_t) == SIZEOF_WCHAR_T && sizeof(double) == SIZEOF_DOUBLE, "");
_Static_assert(sizeof(time_t) == SIZEOF_TIME_T, "");
"""


class Target(NamedTuple):
    """A C library on a processor: zig's name and Python's for it, and the tags of its wheels."""

    zig: str
    suffix: str
    tags: tuple[str, ...]
    policy: str


TARGETS = [
    Target(
        f"{cpu}-linux-gnu.2.17",
        f"{cpu}-linux-gnu",
        (f"manylinux_2_17_{cpu}", f"manylinux2014_{cpu}"),
        f"manylinux_2_17_{cpu}",
    )
    for cpu in ("x86_64", "aarch64")
] + [
    Target(
        f"{cpu}-linux-musl",
        f"{cpu}-linux-musl",
        (f"musllinux_1_2_{cpu}",),
        f"musllinux_1_2_{cpu}",
    )
    for cpu in ("x86_64", "aarch64")
]


def run(command: list[str | Path], **more: object) -> str:
    """Run a command that has to work; what it printed."""
    options = {
        "text": True,
        "stdin": subprocess.DEVNULL,
        "stdout": subprocess.PIPE,
        "stderr": subprocess.STDOUT,
        "timeout": 300,
        **more,
    }
    done = subprocess.run([*map(str, command)], check=False, **options)  # type: ignore[call-overload]
    if done.returncode:
        raise SystemExit(f"wheels: {' '.join(map(str, command))} failed:\n{done.stdout}")
    return str(done.stdout)


# -- headers -------------------------------------------------------------------------------------


def headers_of_machine() -> dict[str, list[Path]]:
    """The headers of the interpreters that are here."""
    sys.path.insert(0, str(ROOT / "tests"))
    import matrix

    found = {}
    for (major, minor), python in matrix.newest_of_each().items():
        code = "import sysconfig as s; print(s.get_path('include'), s.get_path('platinclude'))"
        folders = [Path(name) for name in run([python.executable, "-c", code]).split()]
        if (folders[0] / "Python.h").exists() and (folders[-1] / "pyconfig.h").exists():
            found[f"{major}.{minor}"] = list(dict.fromkeys(folders))
    return found


def apt(folder: Path, source: str) -> list[str]:
    """How apt-get's commands begin that leave this machine's own packages and lists alone."""
    for part in ("lists/partial", "cache/archives/partial"):
        (folder / part).mkdir(parents=True)
    (folder / "sources.list").write_text(source + "\n")
    words = ["apt-get", "--quiet"]
    for key, value in {
        "Dir::Etc::SourceList": "sources.list",
        "Dir::Etc::SourceParts": "none",
        "Dir::State::Lists": "lists",
        "Dir::Cache": "cache",
    }.items():
        words += ["-o", f"{key}={folder / value}"]
    return words


def headers_of_debian(version: str) -> list[Path]:
    """Those of Debian's package libpython3.X-dev, unpacked into .headers; [] if it has none."""
    place = HEADERS / version
    if not place.exists():
        if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
            return []
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            commands = apt(folder, DEBIAN)
            try:
                run([*commands, "update"], cwd=folder)
                run([*commands, "download", f"libpython{version}-dev"], cwd=folder)
            except SystemExit as error:
                print(error)
                return []
            package = next(folder.glob("*.deb"))
            run(["dpkg-deb", "--extract", package, folder / "unpacked"])
            shutil.copytree(folder / "unpacked/usr/include", place)
        # Its pyconfig.h takes the one of the processor, by the name of that one's folder.
        (own,) = place.glob("*-linux-gnu")
        for target in TARGETS:
            if target.suffix.endswith("gnu") and target.suffix != own.name:
                (place / target.suffix).symlink_to(own.name)
    return [place / f"python{version}", place]


# -- wheels --------------------------------------------------------------------------------------


def units(source: Path) -> list[str]:
    """The files in C, as setup.py names them."""
    for node in ast.parse((source / "setup.py").read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "UNITS":
            return list(ast.literal_eval(node.value))
    raise SystemExit("wheels: setup.py has no UNITS")


def pure_wheel(source: Path, out: Path) -> Path:
    """The wheel for any machine."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "wheel"]
    run(
        [*pip, "--no-deps", "--no-build-isolation", "--wheel-dir", out, source],
        env={**os.environ, "EARLYFORK_PURE": "1"},
    )
    return next(out.glob("earlyfork-*-py3-none-any.whl"))


def compiled(source: Path, version: str, include: list[Path], target: Target, out: Path) -> Path:
    """The part in C for one interpreter, library and processor."""
    tag = "cp" + version.replace(".", "")
    place = out / f"_quick.cpython-{tag[2:]}-{target.suffix}.so"
    check = out / "sizes.c"
    check.write_text(SIZES)
    zig = [sys.executable, "-m", "ziglang", "cc", "-target", target.zig]
    folders = [f"-isystem{folder}" for folder in include]
    run([*zig, "-c", *folders, check, "-o", out / "sizes.o"])
    run([*zig, *FLAGS, *folders, *units(source), "-o", place], cwd=source)
    if target.suffix.endswith("musl"):  # as musl's own loader is called on every distribution
        cpu = target.suffix.partition("-")[0]
        run(["patchelf", "--replace-needed", "libc.so", f"libc.musl-{cpu}.so.1", place])
    return place


def wheel_with(pure: Path, library: Path, version: str, target: Target, out: Path) -> Path:
    """The wheel for any machine, and the part in C in it, with the tags that this needs."""
    tag = "cp" + version.replace(".", "")
    with tempfile.TemporaryDirectory() as name:
        run([sys.executable, "-m", "wheel", "unpack", "--dest", name, pure])
        tree = next(Path(name).iterdir())
        shutil.copy(library, tree / "earlyfork" / library.name)
        about = next(tree.glob("*.dist-info")) / "WHEEL"
        kept = [
            line
            for line in about.read_text(encoding="utf-8").splitlines()
            if line and not line.startswith(("Tag:", "Root-Is-Purelib:"))
        ]
        lines = [*kept, "Root-Is-Purelib: false"]
        lines += [f"Tag: {tag}-{tag}-{platform}" for platform in target.tags]
        about.write_text("\n".join(lines) + "\n", encoding="utf-8")
        before = set(out.glob("*.whl"))
        run([sys.executable, "-m", "wheel", "pack", "--dest-dir", name, tree])
        made = next(Path(name).glob("*.whl"))
        assert out / made.name not in before, made.name
        return Path(shutil.move(made, out / made.name))


def one(
    source: Path, version: str, include: list[Path], target: Target, pure: Path, out: Path
) -> str:
    """Build one wheel, and see that it is what its tags say; a line for people."""
    with tempfile.TemporaryDirectory() as name:
        library = compiled(source, version, include, target, Path(name))
        made = wheel_with(pure, library, version, target, out)
    said = run([sys.executable, "-m", "auditwheel", "show", made])
    if f'"{target.policy}"' not in said:
        raise SystemExit(f"wheels: {made.name} is no {target.policy}:\n{said}")
    return f"{made.name}  {made.stat().st_size // 1024} KB"


def sources(sdist: Path, repository: str, out: Path, unpacked: Path) -> Path:
    """Unpack the sources and put their archive beside the wheels; with the repository's address."""
    with tarfile.open(sdist) as archive:
        archive.extractall(unpacked, filter="data")
    source = next(unpacked.iterdir())
    if repository:
        run([sys.executable, ROOT / "release/face.py", source, repository])
        code = "import sys, setuptools.build_meta as build; build.build_sdist(sys.argv[1])"
        run([sys.executable, "-c", code, out.resolve()], cwd=source)
    else:
        shutil.copy(sdist, out)
    return source


def build(sdist: Path, out: Path, versions: list[str], repository: str) -> list[str]:
    """All wheels of these versions; a line for each."""
    out.mkdir(parents=True, exist_ok=True)
    for old in [*out.glob("*.whl"), *out.glob("*.tar.gz")]:
        old.unlink()
    found = headers_of_machine()
    with tempfile.TemporaryDirectory() as name:
        source = sources(sdist, repository, out, Path(name))
        pure = pure_wheel(source, out)
        lines, jobs = [f"{pure.name}  {pure.stat().st_size // 1024} KB"], []
        with ThreadPoolExecutor(os.cpu_count()) as threads:
            for version in versions:
                include = found.get(version) or headers_of_debian(version)
                if not include:
                    lines.append(f"LEFT OUT: CPython {version}: no headers are to be had here")
                    continue
                jobs += [
                    threads.submit(one, source, version, include, target, pure, out)
                    for target in TARGETS
                ]
        return lines + [job.result() for job in jobs]


def digests(folder: Path) -> dict[str, str]:
    """Of each wheel."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.glob("*.whl"))
    }


def main() -> int:
    """Build what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("sdist", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--only", action="append", metavar="3.X", help="this CPython only")
    parser.add_argument("--repository", default="", help="its address, for links (face.py)")
    parser.add_argument("--prove", action="store_true", help="build twice, and compare the bytes")
    options = parser.parse_args()
    os.environ.setdefault("SOURCE_DATE_EPOCH", "1767225600")
    versions = options.only or VERSIONS
    print(*build(options.sdist, options.out, versions, options.repository), sep="\n")
    if options.prove:
        with tempfile.TemporaryDirectory() as name:
            build(options.sdist, Path(name), versions, options.repository)
            if digests(Path(name)) != digests(options.out):
                raise SystemExit("wheels: a second build has other bytes")
        print("a second build has the same bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
