"""The rights of a process: users, groups, root directory, capabilities, what it may never gain.

A process that earlyfork makes has the rights of its template, which had those of the main program
when that started. Its caller may have given up some since then. So before a process obeys anything
that could use its rights, it gives up what the sender has not; or it refuses, and says why. The
kernel attests who sent something, and says in /proc what rights that process has.
"""

from __future__ import annotations

import errno
import os

from earlyfork._shared.posix import close
from earlyfork._shared.quick import quick
from earlyfork._shared.sockets import CREDENTIALS
from earlyfork._shared.wire import ProtocolError

TYPE_CHECKING = False  # typing costs more than all of this to import
if TYPE_CHECKING:
    #: The pid, real user and group of who sent something; None where the system does not tell.
    Sender = tuple[int, int, int] | None

#: What /proc tells of a process's rights; how many filters of system calls it has is among it.
_LINES = (
    *(b"Uid:", b"Gid:", b"Groups:", b"NoNewPrivs:", b"Seccomp:", b"Seccomp_filters:"),
    *(b"CapInh:", b"CapPrm:", b"CapEff:", b"CapBnd:", b"CapAmb:"),
)
#: Stands for a namespace that may not be looked at.
UNSEEN = b"user:?"
#: The modules that a process needs later.
LATE = ("fcntl", "linecache", "pickle", "traceback")
_CAPABILITIES = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")
# From linux/prctl.h and linux/capability.h, which no module of the stdlib has.
_KEEPCAPS, _CAPBSET_DROP, _NO_NEW_PRIVS, _CAP_AMBIENT = 8, 24, 38, 47
_AMBIENT_RAISE, _AMBIENT_CLEAR = 2, 4
_CAPABILITY_VERSION = 0x20080522
_CAP_SETGID, _CAP_SETUID, _CAP_SYS_CHROOT = 6, 7, 18


def of(pid: int | str) -> bytes:
    """The rights of a process, but for its root directory: comparable text.

    These are lines of /proc, then the namespace of users that gives them a meaning, and the device
    of /proc itself: in a jail anybody may have made files of that name.

    Args:
        pid: of the process, or "self".

    Returns:
        Nothing where there is no /proc, or when the process is gone.

    Raises:
        OSError: the files can't be read for another reason.
    """
    try:
        fd = _open_status(pid)
    except FileNotFoundError:
        return b""
    try:
        lines = _lines_in(fd)
        device = b"%d\n" % os.fstat(fd).st_dev
    finally:
        close(fd)
    try:
        namespace = os.readlink(f"/proc/{pid}/ns/user").encode() + b"\n"
    except OSError:  # it may not be looked at
        namespace = UNSEEN + b"\n"
    return lines and lines + namespace + device


def of_this_process() -> bytes:
    """The same of a root template; nothing if what is called /proc there counts other processes."""
    try:
        return of("self") if os.readlink("/proc/self") == str(os.getpid()) else b""
    except OSError:
        return b""


def _open_status(pid: int | str) -> int:
    return os.open(f"/proc/{pid}/status", os.O_RDONLY | os.O_CLOEXEC)


def _lines_in(fd: int) -> bytes:
    text = b""
    try:
        while more := os.pread(fd, 1 << 16, len(text)):
            text += more
    except ProcessLookupError:  # it went meanwhile
        return b""
    return b"".join(line for line in text.splitlines(True) if line.startswith(_LINES))


def is_in_our_namespaces(pid: int) -> bool:
    """Whether a process is in the very namespaces of this one; without /proc nobody knows.

    In another one of users it has all capabilities, which are worth nothing outside.
    """
    try:
        mine = _namespaces("self")
    except OSError:
        return True
    try:
        return _namespaces(pid) == mine
    except OSError:  # it may not be looked at, or is gone
        return False


def _namespaces(pid: int | str) -> list[str]:
    folder = f"/proc/{pid}/ns"
    return [os.readlink(f"{folder}/{name}") for name in sorted(os.listdir(folder))]


def has_our_rights(sender: tuple[int, int, int]) -> bool:
    """Whether a process has the very rights of this one.

    Args:
        sender: pid, real user and group of who sent a message, as the kernel attests.
    """
    pid, uid, gid = sender
    try:
        if (uid, gid) != (os.getuid(), os.getgid()) or of(pid) != of("self"):
            return False
    except OSError:
        return False
    try:  # by name: a look at the directory may wait for ever, if the process serves that (FUSE)
        return os.readlink(f"/proc/{pid}/root") == os.readlink("/proc/self/root")
    except OSError:  # it may not be looked at, or there is no /proc
        return True


def are_those(sender: Sender, known: bytes) -> bool:
    """Whether who sent something has just the rights that are known, and this process's root."""
    if sender is None or not known:
        return False
    pid, uid, gid = sender
    try:
        if os.readlink(f"/proc/{pid}/root") != os.readlink("/proc/self/root"):
            return False
        if quick is not None:
            return bool(quick.has_rights(known, pid, uid, gid))
        by_ids = known.startswith(b"Uid:\t%d\t" % uid) and b"\nGid:\t%d\t" % gid in known
        return by_ids and of(pid) == known
    except OSError:
        return False


def settle(senders: set[Sender], askers: set[Sender], known: bytes) -> bytes:
    """Have no right that one of these has not, from now on.

    What code in this process gave up stays given up.

    Args:
        senders: pid, real user and group of who sent what is to be obeyed, as the kernel attests.
        askers: the same of who asked for this process; it is to have their root directory as well.
        known: what senders had of whom this process knew that it has no more than they.

    Returns:
        The same for the next time.

    Raises:
        PermissionError: this process has more and can't give it up. ProtocolError: nobody knows
            who sent it.
    """
    if CREDENTIALS is None:  # the system does not tell (macOS)
        return known
    for sender in (*senders, *askers):
        if sender is None or not sender[0]:
            raise ProtocolError("the kernel does not say who sent this")
        known = _settle(*sender, known)
        if sender in askers and known:
            _take_root(sender[0], _parsed(of("self")))
    return known


def _settle(pid: int, uid: int, gid: int, known: bytes) -> bytes:
    if not known:
        _settle_by_ids(uid, gid)
        return known
    as_ever = known.startswith(b"Uid:\t%d\t" % uid) and b"\nGid:\t%d\t" % gid in known
    # This process's own pid can have been the sender's, who is gone then.
    theirs = b"" if pid == os.getpid() else of(pid)
    if not theirs:
        if as_ever:
            return known
        raise _refusal(f"its caller, by user {uid} and group {gid}, has ended meanwhile")
    *_, our_namespace, our_device = known.splitlines()
    # Only who has few rights itself may not look at that of a sender that lives.
    theirs = theirs.replace(UNSEEN, our_namespace)
    *_, namespace, device = theirs.splitlines()
    if as_ever and theirs == known:
        return known
    if device != our_device:
        raise _refusal("/proc is another one than it was")
    wanted = _parsed(theirs)
    # What it has by executing a program that gives rights, a setuid one say, is not its own.
    if not as_ever and (set(wanted["Uid"]), set(wanted["Gid"])) != ({uid}, {gid}):
        raise _refusal("who sent this has become another user since")
    if namespace != our_namespace or (uid and not as_ever):
        wanted.update(CapInh=[0], CapPrm=[0], CapEff=[0], CapAmb=[0])
    status = _open_status("self")  # which can't be had any more from within another root
    try:
        mine = _lines_in(status)
        own = _parsed(mine)
        if own != wanted and (known.startswith(mine) or not _covers(wanted, own)):
            reason = _take(pid, wanted, own)
            found = _parsed(_lines_in(status))
            if not _covers(wanted, found):
                raise _refusal(reason or _difference(found, wanted))
    finally:
        close(status)
    return theirs


def _settle_by_ids(uid: int, gid: int) -> None:
    """Without /proc, user and group of a sender is all that is known."""
    if (uid, gid) == (os.getuid(), os.getgid()):
        return
    try:
        os.setgroups([])
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
    except OSError as error:
        raise _refusal(f"user and group of its caller are {uid} and {gid}") from error


def _parsed(text: bytes) -> dict[str, list[int]]:
    found = {}
    for line in text.decode().splitlines():
        name, _, values = line.partition(":\t")
        if not values and not line.endswith("\t"):  # not of these lines
            continue
        found[name] = [int(v, 16 if name in _CAPABILITIES else 10) for v in values.split()]
    return found


def _covers(theirs: dict[str, list[int]], mine: dict[str, list[int]]) -> bool:
    """Whether a process that has `theirs` could have `mine`."""
    may_become = theirs["CapPrm"][0]
    users = set(mine["Uid"]) <= set(theirs["Uid"]) or may_become >> _CAP_SETUID & 1
    their_groups = {*theirs["Gid"], *theirs["Groups"]}
    groups = {*mine["Gid"], *mine["Groups"]} <= their_groups or may_become >> _CAP_SETGID & 1
    return bool(
        users
        and groups
        and not any(
            mine[name][0] & ~(theirs[name][0] | (name == "CapEff" and may_become))
            for name in _CAPABILITIES
        )
        and mine["NoNewPrivs"] >= theirs["NoNewPrivs"]
        and mine["Seccomp"] >= theirs["Seccomp"]
        and mine.get("Seccomp_filters", [0]) >= theirs.get("Seccomp_filters", [0])
    )


def _take(pid: int, wanted: dict[str, list[int]], mine: dict[str, list[int]]) -> str:
    """Take on the rights of another process, as far as that is possible here; say what was not."""
    load_what_comes_later()
    _take_root(pid, mine)
    try:
        system = _System() if _needs_system(wanted, mine) else None
        if system is not None:
            for number in _bits(mine["CapBnd"][0] & ~wanted["CapBnd"][0]):
                system.prctl(_CAPBSET_DROP, number)
            system.prctl(_KEEPCAPS, 1)
        if mine["Groups"] != wanted["Groups"]:
            os.setgroups(wanted["Groups"])
        if mine["Gid"] != wanted["Gid"]:
            os.setresgid(*wanted["Gid"][:3])
        if mine["Uid"] != wanted["Uid"]:
            os.setresuid(*wanted["Uid"][:3])
        if system is not None:
            system.set_capabilities(wanted)
            system.prctl(_CAP_AMBIENT, _AMBIENT_CLEAR)
            for number in _bits(wanted["CapAmb"][0]):
                system.prctl(_CAP_AMBIENT, _AMBIENT_RAISE, number)
            system.prctl(_KEEPCAPS, 0)
            if wanted["NoNewPrivs"][0]:
                system.prctl(_NO_NEW_PRIVS, 1)
    except (OSError, ImportError) as error:  # ImportError: no ctypes here
        return str(error)
    return ""


def _needs_system(wanted: dict[str, list[int]], mine: dict[str, list[int]]) -> bool:
    """Whether more differs than goes by itself with the change from root to another user."""
    becomes_plain = 0 in mine["Uid"] and 0 not in wanted["Uid"]
    expected = {**mine, "CapPrm": [0], "CapEff": [0], "CapAmb": [0]} if becomes_plain else mine
    return any(expected[name] != wanted[name] for name in (*_CAPABILITIES, "NoNewPrivs"))


def _take_root(pid: int, mine: dict[str, list[int]]) -> None:
    """Have the root directory of another process."""
    if not mine or not mine["CapEff"][0] >> _CAP_SYS_CHROOT & 1:
        return  # this process can't change it, and its caller may be anywhere
    try:
        is_same = os.path.samestat(os.stat(f"/proc/{pid}/root/"), os.stat("/"))
    except OSError as error:
        raise _refusal("its caller has ended, so nobody knows its root directory") from error
    if not is_same:
        enter_root(f"/proc/{pid}/root")


def enter_root(directory: str | int) -> None:
    """Make a directory the root of this process, which holds no place outside of it after that."""
    load_what_comes_later()
    os.chdir(directory)
    os.chroot(".")


def load_what_comes_later() -> None:
    """Load LATE: the files may be out of reach when they are needed.

    A main program that gives up its rights by the functions of `os` has its template load all of
    it before (`_origin/whole`), so that no process has to.
    """
    for name in LATE:
        __import__(name)


def _bits(number: int) -> list[int]:
    return [bit for bit in range(number.bit_length()) if number >> bit & 1]


def _difference(mine: dict[str, list[int]], wanted: dict[str, list[int]]) -> str:
    names = [name for name, value in mine.items() if value != wanted.get(name)]
    return ", ".join(f"{name} is {mine[name]} here and {wanted.get(name)} there" for name in names)


def _refusal(reason: str) -> PermissionError:
    return PermissionError(
        errno.EPERM,
        "this process has rights that its caller has given up, and can't give them up itself "
        f"({reason}); earlyfork.new_exec(executable=sys.executable) makes one that never had them",
    )


class _System:
    """The two system calls that the stdlib lacks."""

    def __init__(self) -> None:
        import ctypes  # only here: it is large, and few programs give up single capabilities

        self._ctypes = ctypes
        self._libc = ctypes.CDLL(None, use_errno=True)

    def prctl(self, option: int, value: int = 0, more: int = 0) -> None:
        numbers = [self._ctypes.c_ulong(number) for number in (value, more, 0, 0)]
        if self._libc.prctl(option, *numbers):
            self._fail("prctl")

    def set_capabilities(self, wanted: dict[str, list[int]]) -> None:
        masks = [wanted[name][0] for name in ("CapEff", "CapPrm", "CapInh")]
        words = [mask >> shift & 0xFFFFFFFF for shift in (0, 32) for mask in masks]
        head = (self._ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0)
        if self._libc.capset(head, (self._ctypes.c_uint32 * 6)(*words)):
            self._fail("capset")

    def _fail(self, call: str) -> None:
        number = self._ctypes.get_errno()
        raise OSError(number, f"{call}: {os.strerror(number)}")
