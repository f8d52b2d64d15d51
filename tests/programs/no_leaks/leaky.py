"""Tests that leave something behind, each what its name says, and some that do not."""

import os
import signal
import socket
import subprocess
import sys
import threading

import pytest
from hypothesis import given, strategies

kept = []
NAP = "import select; select.select([], [], [], 60)"


def test_clean_fd():
    os.close(os.open(os.devnull, os.O_RDONLY))


def test_clean_child():
    subprocess.run([sys.executable, "-c", "pass"], check=True)


def test_clean_orphan_that_ends():
    # the grandchild comes home here, ends when the pipe does, and is nobody's fault
    subprocess.run(
        [
            sys.executable,
            "-c",
            "import subprocess, sys; subprocess.Popen([sys.executable, '-c', 'pass'])",
        ],
        check=True,
    )


def test_leaks_fd():
    kept.append(os.open("/dev/zero", os.O_RDONLY))


def test_leaks_socket():
    kept.extend(socket.socketpair())


def test_leaks_child():
    kept.append(subprocess.Popen([sys.executable, "-c", NAP]))


def test_leaks_zombie():
    pid = os.posix_spawn("/bin/true", ["true"], {})
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)


def test_leaks_orphan():
    subprocess.run(
        [
            sys.executable,
            "-c",
            "import subprocess, sys; subprocess.Popen(sys.argv[1:])",
            sys.executable,
            "-c",
            NAP,
            "orphan",
        ],
        check=True,
    )


def test_clean_child_of_a_wider_fixture(parent):
    pass


def test_leaks_orphan_of_before(parent):
    # its parent, made before this test, dies in it
    parent.kill()
    parent.wait()


@pytest.fixture(scope="module")
def parent():
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import subprocess, sys; subprocess.Popen(sys.argv[1:]); print(flush=True); input()",
            sys.executable,
            "-c",
            NAP,
            "old orphan",
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with process:
        process.stdout.readline()
        yield process
        process.kill()


@given(strategies.integers())
def test_clean_hypothesis(number):
    assert isinstance(number, int)


def test_leaks_thread():
    waiting = threading.Event()
    kept.append(waiting)
    threading.Thread(target=waiting.wait, name="left-thread", daemon=True).start()


def test_leaks_handler():
    signal.signal(signal.SIGUSR1, lambda *_: None)


def test_leaks_blocked_signal():
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])


def test_replaces_stdin():
    fd = os.open("/dev/zero", os.O_RDONLY)
    os.dup2(fd, 0)
    os.close(fd)


def test_fails_and_leaks():
    kept.append(subprocess.Popen([sys.executable, "-c", NAP, "failed"]))
    raise ValueError("own failure")


def test_clean_at_the_end():
    pass
