"""send_fh delivers what was sent, or refuses: a row for each kind of file, and for each setting."""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import lzma
import select
import socket
import ssl
import subprocess
import sys
import tempfile
import zipfile
from typing import TYPE_CHECKING, Any

import pytest
import work

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import earlyfork

    Make = Callable[[], earlyfork.Process]

TEXT = b"header\nrow1\r\nrow2\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    place = tmp_path / "file"
    place.write_bytes(TEXT)
    return place


def seen(make: Make, file: Any, what: str) -> Any:
    """What an expression gives about `f`, in a process that the file was sent to."""
    process = make().send_fh(file).send_arg(what)
    answer = work.got(process.run(work.evaluates))
    assert process.wait(10) == 0
    return answer


def refusal(make: Make, file: Any) -> str:
    with pytest.raises((TypeError, ValueError)) as caught:
        make().send_fh(file)
    return str(caught.value)


# --- text -----------------------------------------------------------------------------------


@pytest.mark.parametrize("newline", [None, "", "\n", "\r", "\r\n"])
def test_newlines(make: Make, path: Path, newline: str | None) -> None:
    with open(path, newline=newline) as file:
        expected = file.readlines()
    with open(path, newline=newline) as file:
        assert seen(make, file, "f.readlines()") == expected
    with open(path, "w", newline=newline) as file:
        file.write("a\n")
        assert seen(make, file, "(f.write('b\\n'), f.close())") == (2, None)
    with open(path, "rb") as file:
        ends = (newline or "\n").encode()
        assert file.read() == b"a" + ends + b"b" + ends


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "utf-16", "utf-8-sig", "shift_jis"])
@pytest.mark.parametrize("errors", ["strict", "replace", "surrogateescape"])
def test_encodings(make: Make, path: Path, encoding: str, errors: str) -> None:
    path.write_text("first\nsecond", encoding)
    with open(path, encoding=encoding, errors=errors) as file:
        answer = seen(make, file, "f.encoding, f.errors, f.mode, f.read()")
    assert answer == (encoding, errors, "r", "first\nsecond")


def test_buffering(make: Make, path: Path) -> None:
    flags = "f.line_buffering, f.write_through"
    with open(path, "w", buffering=1) as file:
        assert seen(make, file, flags) == (True, False)
    with open(path, "w") as file:
        assert seen(make, file, flags) == (False, False)
        file.reconfigure(write_through=True)
        assert seen(make, file, flags) == (False, True)
    with open(path, "wb", buffering=0) as raw, io.TextIOWrapper(raw, write_through=True) as file:
        assert seen(make, file, "type(f.buffer).__name__, " + flags) == ("FileIO", False, True)


# --- layers and modes -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "mode", ["r", "r+", "w", "w+", "a", "a+", "x", "rb", "rb+", "wb", "wb+", "ab", "ab+", "xb"]
)
@pytest.mark.parametrize("buffering", [-1, 0])
def test_modes(make: Make, path: Path, mode: str, buffering: int) -> None:
    if buffering == 0 and "b" not in mode:
        pytest.skip("text is always buffered")
    if "x" in mode:
        path.unlink()
    with open(path, mode, buffering) as file:
        name = type(file).__name__
        facts = (name, file.mode.replace("x", "w"), file.readable(), file.writable(), file.tell())
        answer = seen(make, file, "type(f).__name__, f.mode, f.readable(), f.writable(), f.tell()")
        assert (answer[0], answer[1].replace("x", "w"), *answer[2:]) == facts


@pytest.mark.parametrize("mode", ["r", "rb", "r+", "r+b", "a+", "a+b"])
def test_it_stands_where_it_was_read_up_to(make: Make, path: Path, mode: str) -> None:
    path.write_bytes(b"header\nrow1\nrow2\n")
    with open(path, mode) as file:
        file.seek(0)
        file.readline()
        rest = seen(make, file, "f.read()")
        assert rest in ("row1\nrow2\n", b"row1\nrow2\n")
        # They share one position: whoever reads next goes on from there.
        file.seek(7)
        assert file.read() == rest


def test_a_reader_of_what_was_opened_for_both(make: Make, path: Path) -> None:
    with io.BufferedReader(io.FileIO(path, "r+")) as file:
        assert seen(make, file, "type(f).__name__, f.mode, f.writable()") == (
            *("BufferedReader", "rb+"),
            False,
        )


def test_what_was_written_comes_first(make: Make, path: Path) -> None:
    for mode, first, second in (("w", "one", "'two'"), ("wb", b"one", "b'two'")):
        with open(path, mode) as file:
            file.write(first)
            seen(make, file, f"(f.write({second}), f.close())")
        assert path.read_bytes() == b"onetwo"
    with open(path, "r+b") as both:
        both.write(b"1")
        assert seen(make, both, "f.read()") == b"netwo"


def test_a_named_temporary_file(make: Make, tmp_path: Path) -> None:
    with tempfile.NamedTemporaryFile("w+", dir=tmp_path) as file:
        file.write("first")
        answer = seen(make, file, "type(f).__name__, f.write(' second'), f.close()")
        assert answer == ("TextIOWrapper", 7, None)
        file.seek(0)
        assert file.read() == "first second"


# --- sockets --------------------------------------------------------------------------------


@pytest.mark.parametrize("timeout", [None, 0.0, 5.5])
def test_timeouts(make: Make, timeout: float | None) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.settimeout(timeout)
        what = "type(f).__name__, f.gettimeout(), os.get_blocking(f.fileno())"
        assert seen(make, theirs, what) == ("socket", timeout, timeout is None)


def test_a_socket_with_a_timeout_waits(make: Make) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.settimeout(30)
        process = make().send_fh(theirs)
        with process.run(work.shouts):
            ours.sendall(b"hello")
            assert ours.recv(100) == b"HELLO"
        assert process.wait(10) == 0


def test_a_class_of_ones_own_arrives_as_a_socket(make: Make) -> None:
    class Mine(socket.socket):
        pass

    ours, theirs = socket.socketpair()
    with ours, Mine(fileno=theirs.detach()) as mine:
        assert seen(make, mine, "type(f).__name__") == "socket"


# --- pipes ----------------------------------------------------------------------------------


@pytest.mark.parametrize("text", [False, True])
def test_a_pipe_that_was_read_ahead_of_is_refused(make: Make, text: bool) -> None:
    program = "print('one\\ntwo')"
    with subprocess.Popen([sys.executable, "-c", program], stdout=-1, text=text) as command:
        assert command.stdout is not None
        command.wait()
        assert command.stdout.readline()
        assert "read ahead" in refusal(make, command.stdout)
        assert command.stdout.read() in ("two\n", b"two\n")  # nothing of it is lost


@pytest.mark.parametrize("text", [False, True])
def test_a_pipe_that_nobody_has_read_from(make: Make, text: bool) -> None:
    program = "print('one\\ntwo')"
    with subprocess.Popen([sys.executable, "-c", program], stdout=-1, text=text) as command:
        assert seen(make, command.stdout, "f.read()") in ("one\ntwo\n", b"one\ntwo\n")


# --- what is refused ------------------------------------------------------------------------


def test_what_holds_more_than_a_file(make: Make, path: Path, tmp_path: Path) -> None:
    packed = tmp_path / "packed"
    for module in (gzip, bz2, lzma):
        with module.open(packed, "wb") as file:
            file.write(b"plain")
            assert "compressed bytes" in refusal(make, file)
        with module.open(packed, "rb") as file:
            assert "compressed bytes" in refusal(make, file)
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("a", "b")
    with zipfile.ZipFile(packed) as archive, archive.open("a") as inner:
        assert "can't be sent" in refusal(make, inner)
    with codecs.StreamReaderWriter(
        open(path, "rb"), codecs.getreader("utf-8"), codecs.getwriter("utf-8")
    ) as file:
        assert "fileno()" in refusal(make, file)
    with tempfile.SpooledTemporaryFile() as spooled:
        spooled.write(b"x")
        assert "can't be sent" in refusal(make, spooled)
        assert not spooled._rolled  # type: ignore[attr-defined]

    class Mine(io.FileIO):
        pass

    with Mine(path) as mine:
        assert "fileno()" in refusal(make, mine)
        assert seen(make, mine.fileno(), "os.read(f, 6)") == b"header"


def test_files_of_sockets(make: Make) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs, theirs.makefile("rb") as reading, theirs.makefile("rwb") as both:
        assert "Send the socket itself" in refusal(make, reading)
        assert "can't be sent" in refusal(make, both)


def test_tls_in_every_disguise(make: Make) -> None:
    class Fancy(ssl.SSLSocket):
        pass

    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.sslsocket_class = Fancy
    ours, theirs = socket.socketpair()
    with ours, context.wrap_socket(theirs, do_handshake_on_connect=False) as wrapped:
        assert "session lives in this process" in refusal(make, wrapped)
        with wrapped.makefile("rb") as file:
            assert "session lives in this process" in refusal(make, file)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "utf-8-sig", "utf-7", "hz"])
def test_what_its_decoder_remembers_travels(make: Make, path: Path, encoding: str) -> None:
    text = "\u4e2d\u6587 first\n\u4e2d\u6587\u4e2d second\n" * 3
    path.write_text(text, encoding)
    with open(path, encoding=encoding) as file:
        file.readline()
        file.read(2)
        place, rest = file.tell(), file.read()
        file.seek(place)
        assert seen(make, file, "f.read()") == rest


def test_in_the_middle_of_a_loop(make: Make, path: Path) -> None:
    with open(path) as file:
        for _ in file:
            assert "readline()" in refusal(make, file)
            break


def test_nothing_is_sent_when_one_is_refused(make: Make, path: Path) -> None:
    with open(path) as good:
        process = make()
        with pytest.raises(TypeError):
            process.send_fh(good, select.epoll())
        assert work.got(process.run(work.echo)) == ()
