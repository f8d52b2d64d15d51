"""Each system call, in each party, fails in turn: see driver.py for what must be true then."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import support

HERE = Path(__file__).parent

#: What fails how. That a peer is gone (EPIPE, ECONNRESET) is only true when it is: see test_bytes.
FAULTS = {
    "fork": ["EAGAIN", "ENOMEM"],
    "socketpair": ["EMFILE", "ENFILE", "ENOMEM"],
    "sendmsg": ["EINTR", "EAGAIN", "ENOBUFS", "SHORT"],
    "send": ["EINTR", "ENOBUFS", "SHORT"],
    "recvmsg": ["EINTR", "ENOMEM", "SHORT"],
    "recv": ["EINTR", "SHORT"],
    "poll": ["EINTR", "ENOMEM"],
    "read": ["EAGAIN", "EINTR", "SHORT"],
    "write": ["EAGAIN", "EINTR", "ENOBUFS"],
    "dup": ["EMFILE"],
    "pidfd_open": ["EMFILE", "ENOSYS"],
    "waitid": ["EINTR"],
    "waitpid": ["EINTR"],
    "epoll_create1": ["EMFILE"],
    "open": ["EMFILE"],
    "setsockopt": ["ENOMEM"],
    "pipe2": ["EMFILE"],
    "execve": ["ENOENT", "EACCES"],
    "fchdir": ["EACCES"],
    "setsid": ["EPERM"],
    "close_range": ["EPERM"],
}
#: Further ones where the peer is another one than the party that is told so.
GONE = {"sendmsg": ["EPIPE", "ECONNRESET"], "write": ["EPIPE"], "recvmsg": ["ECONNRESET"]}
SCENARIOS = [
    *("run", "clones", "nested", "drop", "command", "error", "kill", "linked", "handover"),
    "calls",
]
#: The long way: thousands of faults, minutes. Else each fault hits the first calls of each party.
THOROUGH = "EARLYFORK_FAULTS" in os.environ
LIMIT = 60 if THOROUGH else 2


def faults(party: str) -> list[tuple[str, str]]:
    found = [(call, error) for call, errors in FAULTS.items() for error in errors]
    if party == "template":
        found += [(call, error) for call, errors in GONE.items() for error in errors]
    return found


def inject(shim: Path, directory: Path, scenario: str, party: str) -> None:
    control = directory / "control"
    control.write_bytes(bytes(64))
    env = support.clean_env(
        PYTHONPATH=support.python_path(HERE), LD_PRELOAD=str(shim), FAULTS=str(control)
    )
    arguments = [f"{call}={error}" for call, error in faults(party)]
    process = subprocess.Popen(
        [sys.executable, HERE / "driver.py", scenario, party, str(LIMIT), *arguments],
        env=env,
        cwd=directory,
        start_new_session=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        out, err = process.communicate(timeout=3600 if THOROUGH else 280)
    finally:
        support.kill_session(process.pid)
        process.kill()
    assert process.returncode == 0, f"status {process.returncode}\n{out}\n{err[-4000:]}"
    found = [json.loads(line) for line in out.splitlines()]
    problems = [f"{each['fault']}: {text}" for each in found for text in each["problems"]]
    assert not problems, "\n".join(problems) + err[-3000:]
    injected = sum(each["injected"] for each in found)
    assert injected, "no call was reached: the shim does nothing"
    print(f"{injected} faults")


@pytest.mark.timeout(0 if THOROUGH else 300)
@pytest.mark.slow
@pytest.mark.parametrize("party", ["main", "template", "child"])
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_call_fails(shim: Path, tmp_path: Path, scenario: str, party: str) -> None:
    inject(shim, tmp_path, scenario, party)


@pytest.mark.timeout(0 if THOROUGH else 300)
@pytest.mark.slow
@pytest.mark.parametrize("scenario", ["exec", "snapshot"])
def test_a_call_fails_while_a_template_is_made(shim: Path, tmp_path: Path, scenario: str) -> None:
    inject(shim, tmp_path, scenario, "main")
