"""End a process when its owner ends, even in the middle of user code there.

While code that was sent runs in a process that is being prepared, the kernel sends SIGIO when
something happens to the owner's socket. The handler looks whether that was the socket's end.
Nothing is polled, no thread is needed, and a process that prepares nothing pays nothing. For a
linked worker `fall_with` does the like.
"""

from __future__ import annotations

import _operator
import _signal
import _socket
import os

from earlyfork._shared import wire
from earlyfork._shared.quick import quick
from earlyfork._shared.sockets import hung_up

TYPE_CHECKING = False  # typing costs more than all of this to import
if TYPE_CHECKING:
    from collections.abc import Callable


#: The terminal's signals, which a template must survive and need not answer. (SIGTERM is blocked in
#: root templates only: these live as long as their owner.)
BLOCKED = {
    _signal.SIGINT,
    _signal.SIGQUIT,
    _signal.SIGTSTP,
    _signal.SIGTTIN,
    _signal.SIGTTOU,
    _signal.SIGHUP,
}
#: A handler in C, which takes two arguments and does nothing.
do_nothing = _operator.is_
#: Frames for which others may wait: a process that was sent one of them is not ended with its
#: owner. All frames that carry fds are among them, since nothing behind fds can be peeked at.
LASTING = (
    *(
        wire.RUN,
        wire.EXEC,
        wire.SPAWN,
        wire.FORK,
        wire.FD,
        wire.CHROOT,
        wire.CWD,
        wire.STDIO,
        wire.ADOPT,
        wire.PARK,
        wire.QUEUE,
    ),
)


def begin(comm: _socket.socket, *, needed: bool) -> Callable[[], None]:
    """From now on, exit at once when the other end of `comm` is closed.

    A process that others need goes on: it was told to run or to fork, or it has children.

    Args:
        comm: the socket to the owner.
        needed: whether others need this process, as far as that is known. Frames that wait in
            `comm` may say so as well.

    Returns:
        What stops this.
    """
    import fcntl  # only here: each library that a template has mapped is a cost of each fork

    fd = comm.fileno()

    def look(_signum: int = 0, _frame: object = None) -> None:
        if not needed and hung_up(fd) and not something_lasting_waits(comm):
            os._exit(1)

    before = _signal.signal(_signal.SIGIO, look)
    flags = fcntl.fcntl(fd, fcntl.F_GETFL)
    fcntl.fcntl(fd, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(fd, fcntl.F_SETFL, flags | os.O_ASYNC)
    look()  # the owner may have ended before
    # What this code executes must not inherit blocked signals. It does not inherit handlers.
    handlers = {number: _signal.signal(number, do_nothing) for number in BLOCKED}
    _signal.pthread_sigmask(_signal.SIG_UNBLOCK, BLOCKED)

    def stop() -> None:
        _signal.pthread_sigmask(_signal.SIG_BLOCK, BLOCKED)
        for number, handler in handlers.items():
            if _signal.getsignal(number) is do_nothing:  # not set by that code
                _signal.signal(number, handler)
        fcntl.fcntl(fd, fcntl.F_SETFL, flags)
        if _signal.getsignal(_signal.SIGIO) is look:
            _signal.signal(_signal.SIGIO, before)

    return stop


def discard_pending() -> None:
    """Drop the signals that are pending: they were not meant for what will run here."""
    for number in _signal.sigpending():
        handler = _signal.getsignal(number)
        _signal.signal(number, _signal.SIG_IGN)
        _signal.signal(number, handler)


def fall_with(fd: int) -> None:
    """From now on, have the kernel kill this process when nobody holds the other end of `fd`.

    Nothing may ever be sent over that socket, since anything would be taken for its end. The kernel
    remembers the process and not its number. So if this process is dead, and a child of it holds
    `fd` still, the signal never hits whoever was given the pid next (f_setown, send_sigio).
    """
    try:
        if quick is not None:
            quick.fall_with(fd)
            return
        import fcntl

        fcntl.fcntl(fd, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(fd, fcntl.F_SETSIG, _signal.SIGKILL)
        fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) | os.O_ASYNC)
    except OSError:  # a sandbox forbids it: the forker ends this process all the same
        return


def something_lasting_waits(comm: _socket.socket) -> bool:
    """Whether a frame that outlasts the owner waits to be read."""
    decoder = wire.Decoder(count_fds=False)
    try:
        data = comm.recv(1 << 22, _socket.MSG_PEEK | _socket.MSG_DONTWAIT)
        while data:
            part, data = data[: decoder.wants], data[decoder.wants :]
            batch = decoder.feed(part)
            if batch is not None and any(op in LASTING for op, _ in batch[0]):
                return True
    except (OSError, wire.ProtocolError):  # nothing there, or nothing that could be obeyed
        return False
    return False
