"""What keys do: Ctrl-C and Ctrl-Z at a real terminal reach the workers, and no template."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import support

if TYPE_CHECKING:
    from pathlib import Path


class Terminal:
    """A program in the foreground of a real terminal."""

    def __init__(self, folder: Path, program: str) -> None:
        path = support.write_script(support.program(program), folder)
        self.master, slave = os.openpty()
        self.reports, report = os.pipe()
        go_on, self.go_on = os.pipe()
        try:
            self.process = subprocess.Popen(
                [sys.executable, "-c", support.program("early/shell.py"), sys.executable, path],
                stdin=slave,
                stdout=slave,
                stderr=slave,
                start_new_session=True,
                pass_fds=(report, go_on),
                env=support.clean_env(REPORT=str(report), GO_ON=str(go_on), **support.with_work()),
                cwd=folder,
            )
        finally:
            for fd in (slave, report, go_on):
                os.close(fd)
        self.seen = ""

    def until(self, text: str) -> None:
        """Read what is shown until `text` is."""
        # Longer than a program's own waits, whose errors then are what is shown.
        for _ in support.ticks(2 * support.PATIENCE, self.master):
            while support.readable_within(self.master, 0):
                try:
                    self.seen += os.read(self.master, 4096).decode()
                except OSError:  # EIO: nobody has the other side open any more
                    break
            if text in self.seen:
                return
        raise AssertionError(f"{text!r} is not shown, but:\n{self.seen}")

    def press(self, key: bytes) -> None:
        os.write(self.master, key)

    def report(self) -> str:
        """What the shell says next."""
        assert support.readable_within(self.reports, support.PATIENCE), self.seen
        return os.read(self.reports, 100).decode()

    def close(self) -> None:
        for pid in support.session(self.process.pid):
            os.kill(pid, signal.SIGKILL)
        self.process.wait()
        for fd in (self.master, self.reports, self.go_on):
            os.close(fd)


def test_ctrl_c_ends_no_template_and_a_worker_gets_it(tmp_path: Path) -> None:
    with contextlib.closing(Terminal(tmp_path, "early/ctrl_c.py")) as terminal:
        terminal.until("press")
        terminal.press(b"\3")
        terminal.until("the end")
        assert terminal.report() == "ended 0\n"
        assert terminal.seen.count("KeyboardInterrupt") == 1, terminal.seen
        assert terminal.seen.count("Traceback") == 1, terminal.seen  # the worker's own
        assert "interrupted" in terminal.seen


def test_ctrl_z_and_going_on(tmp_path: Path) -> None:
    with contextlib.closing(Terminal(tmp_path, "early/ctrl_z.py")) as terminal:
        terminal.until("press")
        terminal.until("\n")
        worker = int(terminal.seen.split()[1])
        terminal.press(b"\x1a")
        assert terminal.report().startswith("stopped")
        support.wait_until(lambda: support.state(worker) == "T")
        os.write(terminal.go_on, b".")
        terminal.until("the end")
        assert terminal.report() == "ended 0\n"


def test_keys_that_the_main_program_ignores_stop_no_template(tmp_path: Path) -> None:
    """An editor, say: what it ignores must not stop or end what makes its processes."""
    with contextlib.closing(Terminal(tmp_path, "early/ignores_keys.py")) as terminal:
        terminal.until("press")
        terminal.until("\n")
        workers = [int(word) for word in terminal.seen.split()[1:]]
        terminal.press(b"\x1a")
        support.wait_until(lambda: all(support.state(pid) == "T" for pid in workers))
        terminal.press(b"\x1c")
        os.kill(workers[0], signal.SIGCONT)
        terminal.until("the end")
        assert terminal.report() == "ended 0\n"
