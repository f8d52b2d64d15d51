"""The multiprocessing start method in a frozen app that knows nothing of freeze_support()."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

import support

if TYPE_CHECKING:
    from pathlib import Path

APP = """\
import argparse
import earlyfork.mp
import multiprocessing
from concurrent.futures import ProcessPoolExecutor

print("top level", flush=True)


def square(x):
    return x * x


def nest(x):
    with multiprocessing.get_context("earlyfork").Pool(1) as pool:
        return pool.apply(square, (x,))


def main():
    argparse.ArgumentParser().parse_args()  # any argument is an error
    context = multiprocessing.get_context("earlyfork")
    queue = context.Queue()
    process = context.Process(target=queue.put, args=(3,))
    process.start()
    print(queue.get())
    process.join()
    with context.Pool(2) as pool:
        print(pool.map(nest, range(4)))
    with ProcessPoolExecutor(2, mp_context=context) as executor:
        print(list(executor.map(square, range(3))))


if __name__ == "__main__":
    main()
"""


@pytest.mark.frozen
@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize("kind", ["onedir", "onefile"])
@pytest.mark.parametrize("origin", ["early", "launched"])
def test_frozen_app(tmp_path: Path, kind: str, origin: str) -> None:
    first = "import earlyfork\n" if origin == "early" else ""
    (tmp_path / "app.py").write_text(first + APP)
    build = [sys.executable, "-m", "PyInstaller", "--noconfirm", f"--{kind}", "app.py"]
    subprocess.run(build, cwd=tmp_path, env=support.clean_env(), capture_output=True, check=True)
    binary = tmp_path / "dist" / ("app/app" if kind == "onedir" else "app")
    done = subprocess.run(
        [str(binary)],
        cwd=tmp_path,
        env={"PATH": "/nowhere", "TMPDIR": os.environ.get("TMPDIR", str(tmp_path))},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "top level\n3\n[0, 1, 4, 9]\n[0, 1, 4]\n"
