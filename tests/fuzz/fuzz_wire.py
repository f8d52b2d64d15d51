"""Coverage-guided fuzzing of everything that reads bytes of a peer: `make fuzz`.

Any bytes give frames or one ProtocolError, in bounded memory, and always come to an end. The first
byte of an input chooses the reader and the size of the reads.
"""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["earlyfork._shared.wire"]):
    from earlyfork._shared import payloads, wire


#: Values that are made by code that trusts whoever sent them.
TRUSTED = (wire.ARG_PICKLE, wire.ARG_PLAIN)


def decode(data: bytes, at_most: int) -> int:
    """Feed a decoder as a socket would; the number of batches."""
    decoder = wire.Decoder(count_fds=False)
    batches = at = 0
    while at < len(data):
        wants = decoder.wants
        assert 0 < wants <= max(wire.PAD, wire.MAX_BODY, wire.MAX_BULK), wants
        part = data[at : at + min(wants, at_most)]
        at += len(part)
        batch = decoder.feed(part)
        if batch is not None:
            batches += 1
            assert decoder.clean
            held = sum(len(payload) for _, payload in batch[0])
            assert held <= len(data), "more came out than went in"
    return batches


def one(data: bytes) -> None:
    """One input."""
    if len(data) < 2:
        return
    kind, rest = data[0], data[1:]
    try:
        if kind < 160:
            # A decoder gives the same whatever the pieces are.
            sizes = {at_most: outcome(rest, at_most) for at_most in (1 + kind, 1 << 20)}
            assert len(set(sizes.values())) == 1, sizes
        elif kind < 210:
            found = wire.frames(rest)
            assert b"".join(wire.frame(op, payload) for op, payload in found) == rest
        # Pickles are obeyed, and marshal is trusted, by design: values come from the owner alone.
        elif all(op not in TRUSTED for op, _ in wire.frames(rest)):
            payloads.unpack_values(rest)
    except wire.ProtocolError:
        return
    except UnicodeDecodeError:  # of a text that is none: the server reports it as any error
        return


def outcome(data: bytes, at_most: int) -> object:
    """The number of batches, or that it is refused."""
    try:
        return decode(data, at_most)
    except wire.ProtocolError:
        return "refused"


def seeds() -> list[bytes]:
    """Well-formed inputs to begin with."""
    batches = [
        wire.batch(wire.frame(wire.REQUIRE, b"os")),
        wire.batch(wire.frame(wire.FD, b"fd") + wire.frame(wire.ARG_STR, b"x"), 1),
        wire.batch(wire.frame(wire.ARG_BYTES), 0, 5) + b"12345",
        wire.batch(wire.frame(wire.EVAL, payloads.pack_values(("<f>", "x = 1", b"b")))),
        wire.batch(b"".join(wire.frame(wire.ARG_STR, b"a" * 100) for _ in range(5))),
        wire.batch(wire.frame(wire.RUN, b"-os.getpid")),
    ]
    return [
        *(b"\7" + batch for batch in batches),
        b"\7" + b"".join(batches),
        b"\xb0" + wire.frame(1, b"abc") + wire.frame(2),
        b"\xe0" + payloads.pack_values((b"bytes", "text")),
    ]


if __name__ == "__main__":
    if len(sys.argv) > 1 and not sys.argv[1].startswith("-"):
        import pathlib

        corpus = pathlib.Path(sys.argv[1])
        corpus.mkdir(parents=True, exist_ok=True)
        for number, seed in enumerate(seeds()):
            (corpus / f"seed-{number}").write_bytes(seed)
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()
