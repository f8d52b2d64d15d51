"""What the payload of each frame holds: packed and unpacked side by side, one pair after another.

No I/O, like `wire`. The part in C reads and writes some of these itself (ENV, PATH, RUN, PID, EXIT,
NO_FORK, a queued standby); tests/payload_cases.py holds both to the same bytes.
"""

from __future__ import annotations

from _struct import Struct  # `struct` itself is one file more to find

from earlyfork._shared import wire
from earlyfork._shared.plain import pack_plain, unpack_plain

TYPE_CHECKING = False  # typing costs more than all of this to import
if TYPE_CHECKING:
    from collections.abc import Callable

# -- a number: FORK and QUEUE (standbys), READY and IS_READY (a token), PID, EXIT, NO_FORK (errno) -

#: No number here has more digits than this.
MOST_DIGITS = 19


def pack_number(number: int) -> bytes:
    """A number, in decimal digits."""
    return b"%d" % number


def unpack_number(payload: bytes) -> int:
    """The inverse of `pack_number`.

    Raises:
        ProtocolError: this is no number.
    """
    digits = payload[1:] if payload[:1] == b"-" else payload
    if not digits.isdigit() or len(digits) > MOST_DIGITS:
        raise wire.ProtocolError(f"{payload[:32]!r} is no number")
    return int(payload)


# -- RUN: how the process is linked to its owner, whether it can ask its forker, what it runs -----

#: Not linked; linked by its forker; linked by a second line as well, whose fds come first.
UNLINKED, LINKED, SECOND_LINE = b"-", b"L", b"S"
#: The same for a process that runs alone: without a way up to its forker.
_ALONE = {UNLINKED: b"a", LINKED: b"l", SECOND_LINE: b"s"}
_LINKS = {**{link: (link, False) for link in _ALONE}, **{v: (k, True) for k, v in _ALONE.items()}}


def pack_run(name: str, link: bytes = UNLINKED, *, alone: bool = False) -> bytes:
    """A letter that says whether the process is linked and alone, and the function's name."""
    return (_ALONE[link] if alone else link) + name.encode()


def unpack_run(payload: bytes) -> tuple[str, bytes, bool]:
    """The inverse of `pack_run`: name, link, alone.

    Raises:
        ProtocolError: the letter is none of these.
    """
    if payload[:1] not in _LINKS:
        raise wire.ProtocolError(f"{payload[:1]!r} is no way to run something")
    return payload[1:].decode(), *_LINKS[payload[:1]]


# -- STDIO: one letter for each of fds 0, 1, 2 ----------------------------------------------------

#: The stream stays as it is; it becomes /dev/null; it becomes the next fd of the batch.
KEEP, NULL, NEXT_FD = b"-nf"


# -- EXEC: a command, and how the process becomes it ----------------------------------------------

#: The status of a process that could not become its command, as shells have it.
NOT_EXECUTED = 127


class Command:
    """What is executed, and what the process sees to before that."""

    __slots__ = (
        "argv",
        "cwd",
        "env",
        "file",
        "link",
        "numbers",
        "prepare",
        "session",
        "streams",
        "umask",
    )

    def __init__(  # noqa: PLR0913 - a command has as many parts
        self,
        file: bytes,
        argv: list[bytes],
        *,
        env: list[bytes] | None = None,
        streams: bytes = b"---",
        cwd: bool = False,
        numbers: tuple[int, ...] = (),
        umask: int = -1,
        session: bool = False,
        link: bytes = UNLINKED,
        prepare: bytes = b"",
    ) -> None:
        #: A path, or a name that is looked for in PATH.
        self.file = file
        #: Its arguments, at least one.
        self.argv = argv
        #: Its environment as `name=value`; None: the process's own.
        self.env = env
        #: One letter for each of fds 0 to 2, as in STDIO.
        self.streams = streams
        #: Whether its working directory comes with the frame, after the streams.
        self.cwd = cwd
        #: As which fds it finds the others that come then.
        self.numbers = numbers
        #: Below 0: the process's own.
        self.umask = umask
        #: Whether it leads a session of its own.
        self.session = session
        #: As in RUN. The fds for this come last.
        self.link = link
        #: Functions to call, each by its name and a tuple, packed by `pack_values`; may be empty.
        self.prepare = prepare

    @property
    def fds(self) -> int:
        """How many fds come with the frame, without those of the link."""
        return self.streams.count(NEXT_FD) + self.cwd + len(self.numbers)


def pack_exec(command: Command) -> bytes:
    """A command, in four values; those of `prepare` follow."""
    env = command.env
    listed = b",".join([b"%d" % number for number in command.numbers]) if command.numbers else b""
    flags = b"-%s%s%s" % (b"e" * (env is not None), b"c" * command.cwd, b"s" * command.session)
    head = b"%s %s %s %d %s" % (command.link, flags, command.streams, command.umask, listed)
    file, argv, entries = command.file, b"\0".join(command.argv), b"\0".join(env or ())
    frame, op = wire.FRAME.pack, wire.ARG_BYTES
    parts = (frame(op, len(head)), head, frame(op, len(file)), file, frame(op, len(argv)), argv)
    return b"".join((*parts, frame(op, len(entries)), entries, command.prepare))


def unpack_exec(payload: bytes) -> Command:
    """The inverse of `pack_exec`.

    Raises:
        ProtocolError: this is no command.
    """
    parts = wire.frames(payload)
    try:
        (_, head), (_, file), (_, argv), (_, env) = parts[:4]
        link, flags, streams, umask, listed = head.split(b" ")
        return Command(
            file,
            argv.split(b"\0"),
            env=None if b"e" not in flags else env.split(b"\0") if env else [],
            streams=streams,
            cwd=b"c" in flags,
            session=b"s" in flags,
            numbers=tuple(int(number) for number in listed.split(b",") if number),
            umask=int(umask),
            link=link,
            prepare=b"".join(wire.frame(op, data) for op, data in parts[4:]),
        )
    except ValueError:
        raise wire.ProtocolError(f"{payload[:32]!r} is no command") from None


# -- ENV: what turns one environment into another -------------------------------------------------


def pack_env(changes: list[tuple[bytes, bytes | None]]) -> bytes:
    """Variables to set, and to remove (None): `name=value`, or `name`, with NUL between them."""
    return b"\0".join(name if value is None else name + b"=" + value for name, value in changes)


def unpack_env(payload: bytes) -> list[tuple[bytes, bytes | None]]:
    """The inverse of `pack_env`."""
    found = []
    for entry in payload.split(b"\0"):
        name, sign, value = entry.partition(b"=")
        found.append((name, value if sign else None))
    return found


# -- PATH and FD: texts that hold no NUL ----------------------------------------------------------


def pack_path(entries: list[bytes]) -> bytes:
    """The entries of `sys.path`, as the file system has them."""
    return b"\0".join(entries)


def unpack_path(payload: bytes) -> list[bytes]:
    """The inverse of `pack_path`."""
    return payload.split(b"\0")


def pack_words(words: tuple[str, ...]) -> bytes:
    """The words by which the other side makes of an fd what it was here: a kind, and details."""
    return "\0".join(words).encode("utf-8", "surrogatepass")


def unpack_words(payload: bytes) -> list[str]:
    """The inverse of `pack_words`."""
    return payload.decode("utf-8", "surrogatepass").split("\0")


# -- HABITS: a letter for each thing that the clones of a template usually do ----------------------

#: They are sent what must be unpickled; they import modules or run code that they are sent.
UNPICKLE, IMPORT = b"pi"


# -- ERROR: what code in a process raised ---------------------------------------------------------


def pack_error(type_name: str, summary: str, text: str) -> bytes:
    """An exception's class, its last line, its traceback; cut to `wire.MAX_TEXT` bytes in all."""
    parts = (part.replace("\0", "\\0") for part in (type_name, summary, text))
    return "\0".join(parts).encode("utf-8", "backslashreplace")[: wire.MAX_TEXT]


def unpack_error(payload: bytes) -> tuple[str, str, str]:
    """The inverse of `pack_error`. A process may say anything, so what is missing is empty."""
    type_name, summary, text = (*payload.decode("utf-8", "replace").split("\0", 2), "", "")[:3]
    return type_name, summary, text


def class_of(error: BaseException) -> str:
    """The name of an error's class, with its module."""
    return f"{type(error).__module__}.{type(error).__qualname__}".removeprefix("builtins.")


def name_of(error: BaseException) -> str:
    """The class of an error, and the errno behind it, if it has one."""
    name = class_of(error)
    number = error.errno if isinstance(error, OSError) else None
    return name if number is None else f"{name[:500]} {number}"


def errno_of(name: str) -> tuple[str, int | None]:
    """The inverse of `name_of`: class and errno."""
    name, _, number = name.partition(" ")
    return name, int(number) if number.isdecimal() and len(number) < 5 else None


# -- a message up: what a child says to its forker ------------------------------------------------

UP_HEAD = Struct("!BI")  # op, pid


def pack_up(op: int, pid: int, payload: bytes = b"") -> bytes:
    """One message of the process `pid`."""
    return UP_HEAD.pack(op, pid) + payload


def unpack_up(message: bytes) -> tuple[int, int, bytes]:
    """The inverse of `pack_up`: op, pid, payload.

    Raises:
        ProtocolError: the message is too short for that.
    """
    if len(message) < UP_HEAD.size:
        raise wire.ProtocolError(f"a message of {len(message)} bytes is none")
    op, pid = UP_HEAD.unpack_from(message)
    return op, pid, message[UP_HEAD.size :]


# -- a queued standby -----------------------------------------------------------------------------

QUEUED = Struct("!II")  # generation, pid


def pack_queued(generation: int, pid: int) -> bytes:
    """A standby, and how many frames had changed its template when it was forked."""
    return QUEUED.pack(generation & 0xFFFFFFFF, pid)


def unpack_queued(message: bytes) -> tuple[int, int]:
    """The inverse of `pack_queued`: generation, pid."""
    generation, pid = QUEUED.unpack(message)
    return generation, pid


# -- values: ARG_BYTES, ARG_STR, ARG_PLAIN, ARG_PICKLE; EVAL and CALL hold a row of them -----------


def pack_value(value: object) -> tuple[int, bytes]:
    """One value as (op, payload)."""
    if type(value) is bytes:
        return wire.ARG_BYTES, value
    if type(value) is str:
        return wire.ARG_STR, value.encode("utf-8", "surrogatepass")
    plain = pack_plain(value)
    if plain is not None:
        return wire.ARG_PLAIN, plain
    dumps, _ = pickling()
    return wire.ARG_PICKLE, dumps(value)


def pickling() -> tuple[Callable[[object], bytes], Callable[[bytes], object]]:
    """`dumps` and `loads` of pickle, without the modules that `pickle.py` loads.

    Imported only when a value needs them: the part in C of pickle loads half a dozen modules, too.
    """
    try:
        from _pickle import dumps, loads
    except ImportError:
        from pickle import dumps, loads
    return dumps, loads


def unpack_value(op: int, data: bytes) -> object:
    """The inverse of `pack_value`.

    Raises:
        ProtocolError: `op` is none of a value.
    """
    if op == wire.ARG_BYTES:
        return data
    if op == wire.ARG_STR:
        return data.decode("utf-8", "surrogatepass")
    if op == wire.ARG_PLAIN:
        return unpack_plain(data)
    if op == wire.ARG_PICKLE:
        _, loads = pickling()
        return loads(data)
    raise wire.ProtocolError(f"op {op} is no value")


def pack_values(values: tuple[object, ...]) -> bytes:
    """Values for `eval` and `call`."""
    return b"".join(wire.frame(*pack_value(value)) for value in values)


def unpack_values(body: bytes) -> tuple[object, ...]:
    """The inverse of `pack_values`."""
    return tuple(unpack_value(op, data) for op, data in wire.frames(body))
