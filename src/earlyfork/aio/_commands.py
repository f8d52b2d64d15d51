"""A command, awaited: its pipes and its end, in one task and without a thread."""

from __future__ import annotations

import locale
import os
import selectors
from posix import read, write
from subprocess import CalledProcessError, CompletedProcess
from typing import TYPE_CHECKING, Any

from earlyfork.aio._loops import loop
from earlyfork.aio._processes import wait
from earlyfork.command.popen import Popen, add_pipes

if TYPE_CHECKING:
    from collections.abc import Sequence

    Text = str | bytes | os.PathLike[str] | os.PathLike[bytes]

#: How much is read or written in one step. A pipe holds no more, unless somebody made it larger.
AT_ONCE = 1 << 16


async def run_command(
    args: Sequence[Text] | Text,
    *,
    input: Any = None,  # noqa: A002 - subprocess's name
    capture_output: bool = False,
    check: bool = False,
    text: bool | None = None,
    encoding: str | None = None,
    errors: str | None = None,
    **options: Any,
) -> CompletedProcess[Any]:
    """Run a command to its end, as `earlyfork.command.run` does.

    A task that is cancelled kills the command, and waits until it is gone. Starting it takes the
    moment that `command.Popen` takes; all else is awaited.

    Args:
        args: the command.
        input: what it finds on its stdin; None: whatever stdin is.
        capture_output: keep what it writes to stdout and stderr.
        check: raise CalledProcessError if its status is not 0.
        text: input and output are str, in the locale's encoding, as in subprocess.
        encoding: they are str in this encoding.
        errors: how encoding and decoding errors are handled.
        **options: those of `command.Popen`, but for `pty` and `bufsize`.

    Raises:
        CalledProcessError: with `check`, its status is not 0.
        OSError, SubprocessError, TypeError, ValueError: see `command.Popen`.
    """
    if options.get("pty"):
        raise ValueError("run_command has pipes only; command.Popen(pty=True) has a terminal")
    add_pipes(options, input, capture_output=capture_output)
    is_text = text or encoding is not None or errors is not None
    encoding = encoding or locale.getpreferredencoding(False)
    if is_text and input is not None:
        input = input.encode(encoding, errors or "strict")  # noqa: A001
    process = Popen(args, bufsize=0, **options)
    output, errput = await _to_the_end(process, memoryview(input or b"").cast("B"))
    if is_text:
        output, errput = (_decoded(data, encoding, errors) for data in (output, errput))
    code = process.returncode
    if check and code:
        raise CalledProcessError(code, process.args, output=output, stderr=errput)
    return CompletedProcess(process.args, code, output, errput)


def _decoded(data: bytes | None, encoding: str, errors: str | None) -> Any:
    if data is None:
        return None
    found = data.decode(encoding, errors or "strict")
    return found.replace("\r\n", "\n").replace("\r", "\n")


async def _to_the_end(process: Popen, data: memoryview) -> tuple[bytes | None, bytes | None]:
    """Write and read all there is, and wait; kill the command if that is broken off."""
    try:
        try:
            found = await _communicate(process, data)
            await wait(process.process)
        except BaseException:
            process.kill()
            await loop().shielded(lambda: wait(process.process))
            raise
        finally:
            process.poll()
    finally:
        for file in (process.stdin, process.stdout, process.stderr):
            if file is not None:
                file.close()
    return found


async def _communicate(process: Popen, data: memoryview) -> tuple[bytes | None, bytes | None]:
    kind = loop()
    kept: dict[Any, list[bytes]] = {}
    with selectors.DefaultSelector() as selector:
        if process.stdin is not None:
            os.set_blocking(process.stdin.fileno(), False)
            selector.register(process.stdin, selectors.EVENT_WRITE)
        for file in (process.stdout, process.stderr):
            if file is not None:
                kept[file] = []
                selector.register(file, selectors.EVENT_READ)
        while selector.get_map():
            # A selector is an fd itself: so one task can wait for all of them.
            await kind.readable(selector.fileno())
            for key, _ in selector.select(0):
                ready: Any = key.fileobj
                if ready is process.stdin:
                    data = _written(key.fd, data)
                    done = not data
                else:
                    some = read(key.fd, AT_ONCE)
                    kept[ready].append(some)
                    done = not some
                if done:
                    selector.unregister(ready)
                    ready.close()
    return tuple(  # type: ignore[return-value]
        b"".join(kept[file]) if file in kept else None for file in (process.stdout, process.stderr)
    )


def _written(fd: int, data: memoryview) -> memoryview:
    """What is left of the data; nothing if nobody reads it."""
    try:
        return data[write(fd, data[:AT_ONCE]) :]
    except BlockingIOError:
        return data
    except BrokenPipeError:
        return data[:0]
