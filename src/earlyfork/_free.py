"""Fork a process that is nobody's child, where there is no part in C.

The two functions of _quick that the main program's first line needs.
"""

import _signal
import _socket
import os


def two_pairs() -> tuple[int, int, int, int]:
    """Two socketpairs: comm's near and far end, status's, of which neither blocks.

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
    ends[2].setblocking(False)
    ends[3].setblocking(False)
    near, far, ours, theirs = (end.detach() for end in ends)
    return near, far, ours, theirs


def fork_free(near: int, ours: int) -> bool:
    """Fork twice, so that what is forked is nobody's child; True there, with all signals blocked.

    It closes `near` and `ours`, and no handler of the main program ever runs in it.

    Raises:
        OSError: no process, or no memory.
    """
    before = _signal.pthread_sigmask(_signal.SIG_BLOCK, _signal.valid_signals())
    problem = 0
    try:
        pid = os.fork()
    except OSError as error:
        pid, problem = -1, error.errno or 1
    if not pid:
        os.close(near)
        os.close(ours)
        try:
            pid = os.fork()
        except OSError as error:
            os._exit(error.errno or 1)
        if not pid:
            return True
        os._exit(0)
    if pid > 0:
        problem = _exit_of(pid)
    _signal.pthread_sigmask(_signal.SIG_SETMASK, before)
    if problem:
        raise OSError(problem, os.strerror(problem))
    return False


def _exit_of(pid: int) -> int:
    try:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    except ChildProcessError:  # SIGCHLD is ignored here: the kernel took it
        return 0
