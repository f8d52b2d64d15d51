"""What workers run in the tests. Each function gets the socket first."""

from __future__ import annotations

import enum
import os
import pickle
import signal
import sys
import threading
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import socket


def give(sock: socket.socket, value: object) -> None:
    """Answer with a value and the end of the stream."""
    sock.sendall(pickle.dumps(value))
    sock.close()


def got(sock: socket.socket) -> Any:
    """What `give` sent."""
    with sock, sock.makefile("rb") as file:
        return pickle.loads(file.read())


def pid(sock: socket.socket) -> None:
    give(sock, os.getpid())


def echo(sock: socket.socket, *values: object) -> None:
    give(sock, values)


def echo_stream(sock: socket.socket) -> None:
    """Send back whatever comes, to its end."""
    while data := sock.recv(1 << 16):
        sock.sendall(data)


def types(sock: socket.socket, *values: object) -> None:
    give(sock, [(type(value).__name__, str(value)) for value in values])


def hold(sock: socket.socket, *_: object) -> None:
    """Say hello and live until the other end closes."""
    sock.sendall(b"!")
    while sock.recv(1 << 16):
        pass


def stubborn(sock: socket.socket) -> None:
    """Live until SIGKILL."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sock.sendall(b"!")
    while True:
        signal.pause()


def exit_with(_sock: socket.socket, status: Any) -> None:
    sys.exit(status)


def os_exit(_sock: socket.socket, status: int) -> None:
    os._exit(status)


def die_by(_sock: socket.socket, number: int) -> None:
    os.kill(os.getpid(), number)


def returns(_sock: socket.socket) -> int:
    return 77


def fails(_sock: socket.socket, text: str = "as told") -> None:
    raise LookupError(text)


def environment(sock: socket.socket) -> None:
    give(sock, dict(os.environ))


def surroundings(sock: socket.socket) -> None:
    give(
        sock,
        {
            "cwd": os.getcwd(),
            "path": sys.path,
            "argv": sys.argv,
            "main": sorted(vars(sys.modules["__main__"])),
            "streams": [os.fstat(fd).st_ino for fd in (0, 1, 2)],
        },
    )


def open_files(sock: socket.socket, *_: object) -> None:
    """Fd numbers above the streams, with what they are."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            continue
    own = sock.fileno()
    sock.sendall(pickle.dumps((own, {fd: to for fd, to in found.items() if fd > 2})))


def inheritable(sock: socket.socket, *values: Any) -> None:
    fds = [value if isinstance(value, int) else value.fileno() for value in values]
    give(sock, [os.get_inheritable(fd) for fd in (sock.fileno(), *fds)])


def signals(sock: socket.socket) -> None:
    handlers = {
        number: str(signal.getsignal(number))
        for number in signal.valid_signals()
        if signal.getsignal(number) not in (signal.SIG_DFL, None)
    }
    give(sock, (handlers, list(signal.pthread_sigmask(signal.SIG_BLOCK, ()))))


def stack(sock: socket.socket) -> None:
    """The functions under this one."""
    frame, names = sys._getframe(), []
    while frame is not None:
        names.append(f"{frame.f_globals.get('__name__')}.{frame.f_code.co_name}")
        frame = frame.f_back  # type: ignore[assignment]
    give(sock, names)


def links(sock: socket.socket) -> None:
    """Run a linked worker that has children, and end while it lives."""
    import earlyfork

    process = earlyfork.new()
    inner = process.run(family, linked=True)
    give(sock, [int(line) for line in inner.makefile().readlines()])


def owns(sock: socket.socket) -> None:
    """Run a linked worker, tell its pid, and answer with it for as long as somebody asks."""
    import earlyfork

    process = earlyfork.new().require("work")
    inner = process.run(answers, linked=True)
    inner.recv(1)
    sock.sendall(b"%d" % process.pid)
    while data := sock.recv(1):
        inner.sendall(data)
        sock.sendall(inner.recv(1))


def answers(sock: socket.socket) -> None:
    """Answer with "!", and never end by itself."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sock.sendall(b"!")
    while sock.recv(1):
        sock.sendall(b"!")
    while True:
        signal.pause()


def leaves_a_child(sock: socket.socket) -> None:
    """End, and leave a child behind that does not."""
    if not (pid := os.fork()):
        sock.close()
        while True:
            signal.pause()
    sock.sendall(b"%d\n" % pid)


def closes_all(sock: socket.socket) -> None:
    """Close all but the streams and the socket, and live until SIGKILL."""
    os.closerange(3, sock.fileno())
    os.closerange(sock.fileno() + 1, 4096)
    stubborn(sock)


def family(sock: socket.socket) -> None:
    """Have a child that SIGTERM ends, which is waited for, and one that it does not."""
    children = []
    for ignore in (False, True):
        child = os.fork()
        if not child:
            if ignore:
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
            sock.sendall(b"%d\n" % os.getpid())
            sock.close()
            while True:
                signal.pause()
        children.append(child)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sock.sendall(b"%d\n" % os.getpid())
    sock.close()
    for child in children:
        os.waitpid(child, 0)
    signal.pause()


def late_sibling(sock: socket.socket) -> None:
    """When told so, ask for one more like this one; say why there is none."""
    import earlyfork

    sock.sendall(b"!")
    sock.recv(1)
    process = earlyfork.sibling()
    try:
        print(process.pid)
    except OSError as error:
        give(sock, (error.errno, process.state))


def lingers(sock: socket.socket) -> None:
    """Return, and leave a thread that tells when it is waited for."""

    def last() -> None:
        threading.main_thread().join()
        sock.sendall(b"!")
        sock.recv(1)

    threading.Thread(target=last).start()


def crowd(sock: socket.socket, template: int) -> None:
    """Ask for more processes than the template's socket takes while it is stopped."""
    import socket

    import earlyfork
    from earlyfork._child.here import here

    with socket.socket(fileno=os.dup(here.up)) as way_up:
        way_up.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)  # as little as can be
    sock.sendall(b"!")
    os.kill(template, signal.SIGSTOP)
    found = [earlyfork.sibling() for _ in range(30)]
    give(sock, [process.pid for process in found])


def registers(sock: socket.socket, path: str) -> None:
    """Leave something to be done at exit: atexit, a thread that is no daemon, a buffered stream."""
    import atexit

    def note(text: str) -> None:
        with open(path, "a") as file:
            file.write(text + "\n")

    go = threading.Event()
    threading.Thread(target=lambda: (go.wait(), note("thread"))).start()
    atexit.register(note, "atexit")
    note("returns")
    go.set()
    sock.close()


def write_file(sock: socket.socket, file: Any, text: str) -> None:
    file.write(text)
    file.close()
    sock.close()


def read_file(sock: socket.socket, file: Any) -> None:
    give(sock, (file.mode if hasattr(file, "mode") else "", file.read()))


def talk(sock: socket.socket, other: Any) -> None:
    """Use a socket or a Connection that was passed."""
    if hasattr(other, "send_bytes"):
        other.send({"connection": True})
    else:
        other.sendall(b"socket")
    other.close()
    give(sock, type(other).__name__)


def nested(sock: socket.socket, depth: int) -> None:
    """Make a process from within a process; collect the pids."""
    import earlyfork

    if not depth:
        give(sock, [os.getpid()])
        return
    inner = earlyfork.new().send_arg(depth - 1)
    pids = got(inner.run(nested))
    assert inner.wait(10) == 0
    give(sock, [os.getpid(), *pids])


def take_up(sock: socket.socket, prepared: socket.socket) -> None:
    """Run what somebody else prepared; pass on its answer and its status."""
    import earlyfork

    process = earlyfork.new_from_fh(prepared)
    answer = got(process.run("work:echo"))
    give(sock, (answer, process.wait(10), process.pid))


def os_wait(sock: socket.socket) -> None:
    try:
        os.wait()
    except ChildProcessError:
        give(sock, "no children")


def interrupted(sock: socket.socket) -> None:
    """Wait for Ctrl-C. Not by pause(): a signal just before that would be noticed after it only."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer)
    sock.sendall(b"!")
    while True:
        os.read(reader, 1)


def import_in_thread(sock: socket.socket, name: str) -> None:
    """Import a module from a second thread."""
    found: list[object] = []
    thread = threading.Thread(target=lambda: found.append(__import__(name)), daemon=True)
    thread.start()
    thread.join(10)
    give(sock, bool(found))


def children(sock: socket.socket) -> None:
    """Have a child of one's own, and live until the other end closes."""
    child = os.fork()
    if not child:
        signal.pause()
        os._exit(0)
    sock.sendall(b"%d\n" % child)
    while True:
        signal.pause()


VALUE = "from work"


class Namespace:
    """For the entry-point form."""

    class Inner:
        """Two levels down."""

        @staticmethod
        def answer(sock: socket.socket) -> None:
            give(sock, "inner")


def what_serves(sock: socket.socket) -> None:
    """Send what of earlyfork's hot path is in C here."""
    from earlyfork._shared import quick as part

    give(sock, repr(part.quick))


def place(sock: socket.socket) -> None:
    """Send environment, directory and path."""
    give(sock, (dict(os.environ), os.getcwd(), sys.path))


def death_signals(sock: socket.socket) -> None:
    """Send what is set for the death of children."""
    give(sock, (signal.getsignal(signal.SIGCHLD), signal.set_wakeup_fd(-1)))


def fails_when_told(sock: socket.socket) -> None:
    """Fail, quietly, when the other end closes."""
    sys.stderr = None
    sock.recv(1)
    raise LookupError("told")


def writes_to_nobody(_sock: socket.socket, size: int) -> None:
    """Leave output that can't be written."""
    os.dup2(os.open("/dev/full", os.O_WRONLY), 1)
    sys.stdout = open(1, "w", closefd=False)
    sys.stdout.write("x" * size)


def evaluates(sock: socket.socket, f: Any, what: str) -> None:  # noqa: ARG001
    """Send what an expression gives, about the file `f` that was sent."""
    give(sock, eval(what))  # noqa: S307


def shouts(_sock: socket.socket, other: socket.socket) -> None:
    """Answer on a socket that was passed."""
    other.sendall(other.recv(100).upper())


def zone(sock: socket.socket) -> None:
    """Send what is known of the time zone."""
    import time

    give(sock, (time.tzname[0], time.strftime("%Z", time.localtime(0)), time.timezone))


def has_site_directory(place: str) -> tuple[bool, bool]:
    """Whether a directory is on the path, and whether its .pth file was run."""
    return place in sys.path, hasattr(sys, "hook_of_mine")


def site_directory(sock: socket.socket, place: str) -> None:
    """The same."""
    give(sock, has_site_directory(place))


def of_the_kernel(sock: socket.socket) -> None:
    """Send what a process has from the one that made it, but for files and the directory."""
    import resource

    umask = os.umask(0o77)
    limit = resource.getrlimit(resource.RLIMIT_CORE)
    ignored = signal.getsignal(signal.SIGUSR1) == signal.SIG_IGN
    give(sock, {"umask": umask, "limit": limit, "ignored": ignored, "parent": os.getppid()})


def asks(sock: socket.socket, *_: object) -> None:
    """Send what comes of asking for processes."""
    import earlyfork

    answers = []
    for make in (earlyfork.new, earlyfork.sibling):
        try:
            make().close()
            answers.append(("", "made"))
        except Exception as error:
            answers.append((type(error).__name__, str(error)))
    give(sock, answers)


# -- values and files: contract/test_values.py ------------------------------------------------------


class Colour(enum.Enum):
    """Pickled by its name."""

    RED = 1

    @staticmethod
    def named(sock: socket.socket, name: str) -> None:
        give(sock, f"named {name}")


class Point(NamedTuple):
    """A tuple of a class of its own."""

    x: int
    y: int


class Text(str):
    """A str of a class of its own."""

    __slots__ = ()


class Unmade:
    """What can be pickled, and not unpickled."""

    def __reduce__(self) -> tuple[object, ...]:
        return refuse, ("never made",)


def refuse(text: str) -> None:
    raise LookupError(text)


def _last(value: Any) -> Any:
    while type(value) is dict:
        value = value["again"]
    return value


def first_and_last(sock: socket.socket, value: Any) -> None:
    """Whether they are one and the same object."""
    give(sock, value[0] is _last(value[-1]))


def contains_itself(sock: socket.socket, value: Any) -> None:
    give(sock, value[0][1] is value[0])


def describe_all(sock: socket.socket, *values: object) -> None:
    """Each value; of files, what they are."""
    found: list[object] = []
    for value in values:
        if hasattr(value, "gettimeout"):
            found.append((type(value).__name__, value.gettimeout()))
            value.close()
        elif isinstance(value, int) and value > 2:
            os.fstat(value)
            found.append("int")
        else:
            found.append(repr(value))
    give(sock, found)


# -- before a command: contract/test_exec.py -------------------------------------------------------


def says(word: str) -> None:
    """Before a command: the streams are its own, and so is the environment."""
    print(word)
    os.environ["HELLO"] = "set by prepare"


def raises(word: str) -> None:
    raise LookupError(word)


def prepares() -> None:
    """Before a command, with one thread: says so, and what it sees."""
    print(threading.active_count(), os.environ["MARK"])


def prepare_fails() -> None:
    raise LookupError("told so")


def runs_commands(sock: socket.socket) -> None:
    from earlyfork import command

    sock.sendall(command.run(["echo", "from a worker"], capture_output=True).stdout)
