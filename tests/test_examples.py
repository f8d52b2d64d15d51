"""Every example runs as its user would run it, and shows what its docstring says.

The frozen app has tests of its own.
"""

from __future__ import annotations

import importlib.util
import io
import os
import re
import signal
import struct
import subprocess
import sys
import urllib.error
import urllib.request
import zlib
from pathlib import Path

import pytest

import support

EXAMPLES = Path(__file__).parent.parent / "examples"
SHOWN = {
    "library_host.py": """
        from early template
        a!: (39, 41)
        b: None
        (a+)+b: gave up, '(a+)+b' takes more than 2 seconds
        (a: no pattern, missing ), unterminated subpattern at position 0
        """,
    "snapshot_pool.py": """
        1: 1
        12: 6
        13: ChildProcessError('its worker died with status -9')
        97: 2
        5040: 60
        1000000: IndexError('list index out of range')
        151200: 144
        """,
    "parameter_search.py": """
        79 of 80 parameters, the best is 5: 1.0624
        13: its worker died with status -9
        """,
    "redirected_command.py": """
        ['quince', 'pear', 'apple']
        -9
        """,
    "call_with_timeout.py": """
        a+: no
        (a: no pattern, missing ), unterminated subpattern at position 0
        (a+)+b: gave up
        a+b: yes
        """,
    "thumbnails.py": """
        (60, 80, 3) [11 11 11]
        (60, 80, 3) [101 101 101]
        (60, 80, 3) [201 201 201]
        """,
    "lines_of_a_file.py": """
        read 25000
        read 50000
        read 75000
        read 100000
        90 lines, the last one is (99001, 'xline 99000')
        """,
    "requests_in_workers.py": """
        /first from worker
        /second from worker
        """,
    "single_file.py": """
        loading, once
        hello Ada, this is a process of its own
        hello Grace, this is a process of its own
        """,
    "crawler.py": """
        /: 3 links
        /bomb: ended its reader, -9
        /one: 2 links
        /three: 0 links
        /trap: given up
        /two: 2 links
        """,
}
#: Those that no test runs by themselves: shown through others, or tested below or elsewhere.
OTHERS = {"a_library.py", "frozen_app", "prefork_server.py", "image_service.py"}


#: What an example needs beside earlyfork.
NEEDS = {"parameter_search.py": "numpy", "thumbnails.py": "numpy"}


def run_example(name: str, *flags: str, **env: str | None) -> list[str]:
    """The lines that an example prints; it has nothing to complain about."""
    if name in NEEDS and importlib.util.find_spec(NEEDS[name]) is None:
        pytest.skip(f"{NEEDS[name]} is not installed")
    command = [sys.executable, *flags, EXAMPLES / name]
    done = support.run_command(command, env=env, timeout=support.PATIENCE * 3)
    return [line.strip() for line in support.output_of(done).splitlines()]


def lines(text: str) -> list[str]:
    return [line.strip() for line in text.strip().splitlines()]


def test_every_example_is_tested() -> None:
    there = {path.name for path in EXAMPLES.iterdir() if path.name != "__pycache__"}
    assert there == SHOWN.keys() | OTHERS


@pytest.mark.parametrize("name", SHOWN)
def test_shows_what_it_says(name: str) -> None:
    assert run_example(name) == lines(SHOWN[name])


# asyncio's development mode complains about a machine that is slow.
@pytest.mark.parametrize("name", sorted(SHOWN.keys() - {"crawler.py"}))
def test_leaves_nothing_that_development_mode_complains_about(name: str) -> None:
    assert run_example(name, "-X", "dev", "-W", "error") == lines(SHOWN[name])


def test_library_without_an_early_template() -> None:
    early = lines(SHOWN["library_host.py"])
    launched = run_example("library_host.py", EARLYFORK="0")
    assert launched == ["from exec template", *early[1:]]


def test_prefork_server() -> None:
    with subprocess.Popen(
        [sys.executable, EXAMPLES / "prefork_server.py"],
        env=support.clean_env(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as server:
        try:
            assert server.stdout is not None
            assert server.stderr is not None
            assert support.readable_within(server.stdout.fileno(), support.PATIENCE)
            url = server.stdout.readline().strip()

            pid = served_by(url)
            os.kill(pid, signal.SIGKILL)
            assert support.readable_within(server.stdout.fileno(), support.PATIENCE)
            said = server.stdout.readline()
            assert re.fullmatch(rf"{pid} died \(-9\), \d+ replaces it\n", said)
            assert served_by(url) != pid

            os.killpg(server.pid, signal.SIGINT)  # Ctrl-C reaches the whole group
            rest, errors = server.communicate(timeout=support.PATIENCE)
        finally:
            support.kill_session(server.pid)
    assert (server.returncode, errors) == (0, "")
    assert re.fullmatch(r"(\d+ ended with 0\n){3}", rest)


def served_by(url: str) -> int:
    """The pid of the worker that answers a request."""
    with urllib.request.urlopen(url, timeout=support.PATIENCE) as response:  # noqa: S310 - ours
        return int(response.read().decode().removeprefix("pid "))


@pytest.mark.skipif(importlib.util.find_spec("PIL") is None, reason="Pillow is not installed")
def test_image_service() -> None:
    from PIL import Image

    photo = io.BytesIO()
    Image.new("RGB", (640, 480), "red").save(photo, "JPEG")
    head = b"IHDR" + struct.pack(">2I5B", 30_000, 30_000, 8, 2, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + head + struct.pack(">I", zlib.crc32(head))
    with subprocess.Popen(
        [sys.executable, EXAMPLES / "image_service.py"],
        env=support.clean_env(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as service:
        try:
            assert service.stdout is not None
            assert support.readable_within(service.stdout.fileno(), support.PATIENCE)
            url = service.stdout.readline().strip()
            status, small = posted(f"{url}?size=64", photo.getvalue())
            assert status == 200
            assert Image.open(io.BytesIO(small)).size == (64, 48)
            assert posted(url, b"no image at all")[0] == 415
            assert posted(url, bomb)[0] == 415
            assert posted(url, photo.getvalue())[0] == 200
            service.send_signal(signal.SIGINT)
            rest, errors = service.communicate(timeout=support.PATIENCE)
        finally:
            support.kill_session(service.pid)
    assert (service.returncode, rest) == (0, "4 images\n"), errors


def posted(url: str, data: bytes) -> tuple[int, bytes]:
    """The status and the body that a POST is answered with."""
    try:
        with urllib.request.urlopen(url, data, timeout=support.PATIENCE) as response:  # noqa: S310 - ours
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()
