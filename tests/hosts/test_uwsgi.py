"""uWSGI, a C program that embeds Python. Opt-in, `make test-uwsgi`: installing it compiles it."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import support

HERE = Path(__file__).parent
UWSGI = Path(sys.executable).with_name("uwsgi")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not UWSGI.exists(), reason="uWSGI is not installed"),
]


@pytest.mark.parametrize("master", [[], ["--master"], ["--master", "--lazy-apps"]], ids=" ".join)
@pytest.mark.parametrize("origin", ["library", "early"])
def test_processes_of_a_web_application(tmp_path: Path, origin: str, master: list[str]) -> None:
    shutil.copytree(HERE / "program", tmp_path / "program")
    address = tmp_path / "socket"
    options = ["--http-socket", str(address), "--need-app", "--die-on-term", "--enable-threads"]
    # uWSGI loads the application as a module of its own making, so nobody can tell that it is the
    # program: it has to be said.
    wish = "1" if origin == "early" else None
    with (tmp_path / "log").open("w") as log:
        server = subprocess.Popen(
            [UWSGI, *options, *master, "--wsgi-file", "host_wsgi.py"],
            cwd=tmp_path / "program",
            env=support.clean_env(
                PYTHONPATH=support.python_path(tmp_path / "program"), EARLYFORK=wish
            ),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    with server:
        try:
            support.wait_until(
                lambda: address.exists() or server.poll() is not None, support.PATIENCE * 2
            )
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(support.PATIENCE * 2)
                client.connect(str(address))
                client.sendall(b"GET / HTTP/1.0\r\n\r\n")
                with client.makefile("rb") as file:
                    head, _, body = file.read().partition(b"\r\n\r\n")
        finally:
            server.terminate()
            try:
                server.wait(support.PATIENCE)
            except subprocess.TimeoutExpired:
                support.kill_session(server.pid)
    assert b"200 OK" in head, (tmp_path / "log").read_text()
    found = json.loads(body)
    assert found["early"] is (origin == "early"), found["reason"]
    assert Path(found["interpreter"].partition(" (")[0]).name.startswith("python")
    for way in ("new", "new_exec"):
        assert found[way]["version"] == list(sys.version_info[:3])
        assert found[way]["piped"] == "pipe got word"
        assert found[way]["returncode"] == 0
