"""Fork a process that is nobody's child, where there is no part in C.

These are the two functions of `_quick` that the main program's first line needs.
"""

import _signal
import _socket
import os
from posix import close, fork, waitpid


def two_pairs() -> tuple[int, int, int, int]:
    """Two socketpairs: comm's near and far end, which is told who sends, and status's.

    Neither end of status blocks.

    Raises:
        OSError: no fd to be had; none is left open.
    """
    ends: list[_socket.socket] = []
    try:
        for _ in range(2):
            ends += _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_STREAM)
    except OSError:
        for end in ends:
            end.close()
        raise
    if hasattr(_socket, "SO_PASSCRED"):
        ends[1].setsockopt(_socket.SOL_SOCKET, _socket.SO_PASSCRED, 1)
    ends[0].setblocking(True)  # whatever default timeout there is
    ends[1].setblocking(True)
    ends[2].setblocking(False)
    ends[3].setblocking(False)
    near, far, ours, theirs = (end.detach() for end in ends)
    return near, far, ours, theirs


def fork_free(near: int, far: int, ours: int) -> bool:
    """Fork twice, so that the new process is nobody's child.

    The new process closes `near` and `ours`. All signals are blocked in it, so that no handler of
    the main program ever runs there. It keeps still for 2 ms, or until something comes at `far`: if
    it worked right away, it would slow down the main program's own start.

    Args:
        near: the owner's end of comm.
        far: the new process's end of comm.
        ours: the owner's end of status.

    Returns:
        True in the new process, False in this one.

    Raises:
        OSError: no process, or no memory.
    """
    before = _signal.pthread_sigmask(_signal.SIG_BLOCK, _signal.valid_signals())
    between = False
    problem = 0
    try:
        pid = fork()
        between = not pid
        if pid:
            problem = _exit_of(pid)
    finally:
        if not between:
            _signal.pthread_sigmask(_signal.SIG_SETMASK, before)
    if problem:
        raise OSError(problem, os.strerror(problem))
    if not between:
        return False
    pid, problem = -1, 1
    try:
        close(near)
        close(ours)
        pid = fork()
        problem = 0
    except OSError as error:
        problem = error.errno or 1
    finally:  # whatever is raised here, a second main program must not come of it
        if pid:
            os._exit(problem)
    _keep_still(far)
    return True


def _keep_still(far: int) -> None:
    """Wait by the socket alone: what other code puts in the place of `select` does not count."""
    sock = _socket.socket(fileno=far)
    sock.settimeout(0.002)
    try:
        sock.recv(1, _socket.MSG_PEEK)
    except OSError:  # nothing came in that time
        return
    finally:
        sock.setblocking(True)
        sock.detach()


def _exit_of(pid: int) -> int:
    try:
        code = os.waitstatus_to_exitcode(waitpid(pid, 0)[1])
    except ChildProcessError:  # SIGCHLD is ignored in this program: the kernel has reaped it
        return 0
    return code if code >= 0 else 4  # it was killed: EINTR, as if interrupted
