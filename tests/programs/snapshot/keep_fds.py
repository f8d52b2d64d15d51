"""Keeps one pipe open in its snapshot, and not another."""

import earlyfork  # noqa: F401 - the first line
import os
import support

reader, writer = os.pipe()
lost_reader, lost = os.pipe()


def speak(sock):
    os.write(writer, b"kept")
    try:
        os.write(lost, b"lost")
    except OSError as error:
        os.write(writer, type(error).__name__.encode())


from earlyfork.template import snapshot

kept = snapshot(keep_fds=[writer])
process = kept.fork()
process.run(speak)
assert process.wait(10) == 0
os.close(writer)
os.close(lost)
assert os.read(reader, 100) in (b"keptBrokenPipeError", b"keptOSError")
assert not support.readable_within(reader, 0), "the snapshot itself keeps it"
kept.close()
process.close()
assert support.eof_within(reader, 5)
assert support.read_until_eof(lost_reader, 5) == b""

for bad in (-1, 12345, "7", 1 << 40):
    try:
        snapshot(keep_fds=[bad])
    except ValueError as error:
        assert "keep_fds" in str(error) and repr(bad) in str(error), error
    else:
        raise AssertionError(bad)
