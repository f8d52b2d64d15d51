"""Which unix sockets belong together: asked of the kernel, which tells it to everybody.

By `NETLINK_SOCK_DIAG`, as `ss -x` does it. A process is bound to its template, and a worker to its
client, by nothing but socket pairs; so the pairs tell whose they are.
"""

from __future__ import annotations

import socket
import struct

_SOCK_DIAG = 4
_BY_FAMILY = 20
#: NLM_F_REQUEST | NLM_F_DUMP.
_REQUEST = 0x301
_ERROR, _DONE = 2, 3
#: UDIAG_SHOW_PEER, and the attribute that answers it.
_SHOW_PEER, _PEER = 4, 2
_HEAD = struct.Struct("=IHHII")
_ASK = struct.Struct("=BBHIIIII")
#: What each answer begins with (`struct unix_diag_msg`), and an attribute.
_MESSAGE = struct.Struct("=BBBBIII")
_ATTRIBUTE = struct.Struct("=HH")
_ANY = 0xFFFFFFFF


def peers() -> dict[int, int]:
    """The inode of each unix socket's other end, by its own.

    Raises:
        OSError: this kernel does not tell.
    """
    found: dict[int, int] = {}
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _SOCK_DIAG) as sock:
        ask = _ASK.pack(socket.AF_UNIX, 0, 0, _ANY, 0, _SHOW_PEER, _ANY, _ANY)
        sock.send(_HEAD.pack(_HEAD.size + len(ask), _BY_FAMILY, _REQUEST, 1, 0) + ask)
        sock.settimeout(5)
        while True:
            data = sock.recv(1 << 18)
            at = 0
            while at + _HEAD.size <= len(data):
                size, kind, *_ = _HEAD.unpack_from(data, at)
                if kind == _DONE:
                    return found
                if kind == _ERROR:
                    number = -struct.unpack_from("=i", data, at + _HEAD.size)[0]
                    raise OSError(number, "the kernel does not tell which sockets belong together")
                _one(data[at + _HEAD.size : at + size], found)
                at += (size + 3) & ~3


def _one(message: bytes, found: dict[int, int]) -> None:
    inode = _MESSAGE.unpack_from(message)[4]
    at = _MESSAGE.size
    while at + _ATTRIBUTE.size <= len(message):
        size, kind = _ATTRIBUTE.unpack_from(message, at)
        if kind == _PEER:
            found[inode] = struct.unpack_from("=I", message, at + _ATTRIBUTE.size)[0]
        at += max(4, (size + 3) & ~3)
