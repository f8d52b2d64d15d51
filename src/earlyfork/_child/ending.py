"""How a process that earlyfork made ends: what an exception means, what is run, what is flushed.

Nothing is finalised that the process has inherited from its template.
"""

from __future__ import annotations

import _signal
import _socket
import atexit
import os
import sys

from earlyfork._child import open_files
from earlyfork._child.here import here, tell
from earlyfork._shared import payloads, wire
from earlyfork._shared.posix import kill, write
from earlyfork._shared.sockets import DONTWAIT, Fds, receive, stream_on

TYPE_CHECKING = False  # typing costs more than all of this to import
if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from typing import Any, NoReturn


def forget_exit_functions() -> None:
    """In a new child: forget the exit functions of its template, or each child would run them.

    What a module registers once, when it is imported or first used, is registered anew, since the
    child will not import the module again. That is logging's shutdown; multiprocessing's exit
    function, which looks at pids itself; and weakref's finalizers, of which the template's are
    forgotten.
    """
    atexit._clear()
    util = sys.modules.get("multiprocessing.util")
    if util is not None:
        atexit.register(util._exit_function)
    logging = sys.modules.get("logging")
    if logging is not None:
        atexit.register(logging.shutdown)
    finalize = getattr(sys.modules.get("weakref"), "finalize", None)
    if finalize is not None:
        finalize._registry.clear()
        finalize._registered_with_atexit = False


def reseed() -> None:
    """Give a new process what a library does not see to itself: a random stream, an event loop.

    CPython's `random` reseeds after a fork; numpy's global generator does not. gevent has its loop
    begin anew in what it puts in the place of `os.fork`, and has no other way to hear of a fork.
    """
    reinit = getattr(sys.modules.get("gevent"), "reinit", None)
    if reinit is not None:
        reinit()
    numpy_random = sys.modules.get("numpy.random")
    if numpy_random is not None:
        numpy_random.seed()


def flush() -> bool:
    """Write out the standard streams; False if that failed."""
    ok = True
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None and not getattr(stream, "closed", False):
                stream.flush()
        except Exception:  # whatever object stands there
            ok = False
    return ok


def conclude(error: BaseException) -> int:
    """Tell and print an exception that nobody caught; the exit status that it means."""
    if isinstance(error, SystemExit):
        code = error.code
        if code is None:
            return 0
        if isinstance(code, int):
            return code & 0xFF if -(1 << 63) <= code < 1 << 63 else 0xFF
        print_error(f"{code}\n")
        return 1
    text, summary = describe(error)
    limit = wire.MAX_TEXT // 2
    shown = text if len(text) <= limit else f"{text[: limit // 2]}\n[...]\n{text[-limit // 2 :]}"
    try:
        tell(wire.ERROR, payloads.pack_error(payloads.name_of(error)[:510], summary[:5000], shown))
    except OSError:  # no way up, or nobody at its end: stderr is what is left
        text += "(Only this stream has the error: the process can no longer tell its template.)\n"
    if sys.excepthook is sys.__excepthook__:
        doing = f"run {here.doing}" if here.doing else "being prepared"
        print_error(f"earlyfork: process {os.getpid()} ({doing}):\n{text}")
    else:
        sys.excepthook(type(error), error, error.__traceback__)
    return 1


def describe(error: BaseException) -> tuple[str, str]:
    """The traceback as it is printed, without frames of earlyfork, and its last line."""
    tb = error.__traceback__
    while tb is not None and tb.tb_frame.f_code.co_filename.startswith(_PACKAGE):
        tb = tb.tb_next  # the reader's own code begins after these
    error.__traceback__ = tb
    try:
        import traceback  # only now: it is not cheap
    except BaseException:  # a process that gave up its rights may not read the stdlib any more
        summary = f"{type(error).__name__}: {error}"
        return f"{summary}\n", summary
    text = "".join(traceback.format_exception(type(error), error, tb))
    summary = "".join(traceback.format_exception_only(type(error), error)).strip()
    return text + advice(error), summary


# Taken from the code of this file: a launched interpreter has no such file.
_PACKAGE = os.path.dirname(os.path.dirname(describe.__code__.co_filename)) + os.sep


def advice(error: BaseException) -> str:
    """What the reader of a traceback may not know; empty if there is nothing to say."""
    known = sorted(name for name in vars(sys.modules["__main__"]) if name[:1] != "_")
    if isinstance(error, AttributeError) and "__main__" in str(error):
        if known:
            return f"(__main__ there has: {', '.join(known)}.)\n"
        return (
            "(A clean process has an empty __main__: what the main program defines is not in it. "
            "Move it to a module, or fork from a snapshot: earlyfork.template.)\n"
        )
    if isinstance(error, ModuleNotFoundError) and error.name and here.collect_by:
        return f"({here.collect_by.format(error.name)}.)\n"
    return ""


def print_error(text: str) -> None:
    """Write to stderr, whatever state that is in."""
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except (AttributeError, OSError, ValueError):  # None, closed or broken
        try:
            write(2, text.encode("utf-8", "backslashreplace"))
        except OSError:
            return


def _coroutine() -> object:
    async def nothing() -> None:
        return None

    found = nothing()
    found.close()
    return found


async def _async_generator() -> AsyncIterator[None]:
    yield None


#: The classes of what async functions and generator functions return: nothing was run then.
UNFINISHED = (type(None for _ in ()), type(_coroutine()), type(_async_generator()))


def refuse_unfinished(result: Any) -> None:
    """Refuse what a function has returned instead of doing its work.

    Raises:
        TypeError: the result is a coroutine or a generator.
    """
    if type(result) in UNFINISHED:
        close = getattr(result, "close", None)
        if close is not None:
            close()  # or a coroutine warns that nobody awaited it
        raise TypeError(
            f"the function returned a {type(result).__name__}, of which nothing was run; give one "
            "that runs it to its end, say by asyncio.run()"
        )


def finish(job: Callable[[], object]) -> NoReturn:
    """Run the user's function as the last thing this process does.

    Then threads that are no daemons are joined, and the functions of `atexit` are run. What was
    written to the standard streams and to any open file is flushed. What was inherited from the
    template is not finalised.
    """
    code = interrupted = 0
    here.job = job
    try:
        refuse_unfinished(job())
    except BaseException as error:
        code = conclude(error)
        interrupted = isinstance(error, KeyboardInterrupt)
    del job
    try:
        if "threading" in sys.modules:
            sys.modules["threading"]._shutdown()
        atexit._run_exitfuncs()
    except BaseException as error:
        conclude(error)
    if not _let_go() and not code:
        code = 120  # the interpreter's own status for streams that could not be written
    if interrupted:
        _signal.signal(_signal.SIGINT, _signal.SIG_DFL)
        kill(os.getpid(), _signal.SIGINT)
    os._exit(code)


def _let_go() -> bool:
    """Drop the function that was run, and write out what it left in files; False if that failed."""
    try:
        job, here.job = here.job, None
        sock: Any = getattr(job, "__self__", None) or getattr(job, "args", (None,))[0]
        if hasattr(sock, "detach"):  # gevent's is none of _socket's
            sock.close()  # a socket that is dropped open warns of that
        del job, sock
        # Files come first: the collector may finalise what a file writes to before the file itself.
        written = open_files.write_out([*open_files.found(), *here.files])
        open_files.collect_if_needed()
        written &= open_files.write_out(open_files.found(), at_end=True)
    except BaseException as error:  # of a finalizer, or of a signal's handler
        conclude(error)
        written = False
    return flush() and written


def drain(comm: _socket.socket, decoder: wire.Decoder) -> None:
    """Read away what is left in comm, and in the sockets of processes that were asked for there.

    Those processes will never be. A socket that is closed with unread bytes resets its peer instead
    of ending it. Files that the user sent are closed, and nothing else: others may share them.
    """
    try:
        comm.shutdown(_socket.SHUT_RD)
        while True:
            data, fds, _ = receive(comm, decoder.wants, DONTWAIT)
            if not data:
                break
            batch = decoder.feed(data, fds)
            if batch is None:
                continue
            frames, found = batch
            with Fds(found) as fds:
                if fds and any(op == wire.FORK for op, _ in frames):  # FORK has a batch of its own
                    asked = stream_on(fds.take())
                    read_away(asked)
                    asked.close()
    except (OSError, wire.ProtocolError):  # nothing more, or nothing that could be obeyed
        read_away(comm)
    Fds(decoder.fds).close()


def read_away(comm: _socket.socket) -> None:
    """Read and forget; the kernel closes fds that nobody takes."""
    try:
        comm.shutdown(_socket.SHUT_RD)
        while comm.recv(1 << 16, DONTWAIT):
            continue
    except OSError:  # nothing more
        return
