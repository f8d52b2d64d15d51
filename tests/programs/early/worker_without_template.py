"""Stops and kills the templates that a worker came from, while that asks for processes."""

import earlyfork
import os
import signal
import support
import work


def asks(sock):
    import earlyfork
    import warnings

    sock.sendall(b"!")
    sock.recv(1)
    pending = earlyfork.new()
    sock.sendall(b"!")
    sock.recv(1)
    try:
        pending.pid
    except earlyfork.TemplateDied as error:
        assert "the process was never made" in str(error)
    else:
        raise AssertionError("made by whom?")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        inner = earlyfork.new().send_arg("x")
        answer = work.got(inner.run(work.echo)), inner.wait(10)
    try:
        earlyfork.sibling()
    except earlyfork.TemplateDied as error:
        work.give(sock, (answer, [str(one.message) for one in caught], str(error)))


if __name__ == "__main__":
    from earlyfork.template import TEMPLATE

    earlyfork.new().ready(10).close()  # so that the pid of the default template is known, too
    process = TEMPLATE.fork()
    sock = process.run(asks)
    assert sock.recv(1) == b"!"
    templates = [template.pid for template in earlyfork.status().templates]
    for pid in templates:
        os.kill(pid, signal.SIGSTOP)
    sock.sendall(b"!")  # a request that nobody hears
    assert sock.recv(1) == b"!"
    for pid in templates:
        os.kill(pid, signal.SIGKILL)
        assert support.gone_within(pid)
    sock.sendall(b"!")
    answer, warned, refused = work.got(sock)
    assert answer == (("x",), 0)
    assert len(warned) == 1 and "the template that this process came from is gone" in warned[0]
    assert "the template of this process is gone" in refused
    print("went on")
