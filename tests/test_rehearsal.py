"""What a template's standbys are told to rehearse by `rehearse()`."""

from __future__ import annotations

import pytest

import support

#: Makes workers one after another; each end is an occasion to fork the next standby.
SOURCE = """
    import earlyfork

    WORK = '''
    import earlyfork, sys
    def rehearsal():
        {rehearsal}
    earlyfork.rehearse(rehearsal)
    def answer(sock):
        sock.sendall(b"!")
    '''

    template = earlyfork.new().eval(WORK)
    for _ in range(30):
        worker = template.fork()
        with worker.run("answer") as sock:
            assert sock.recv(1) == b"!"
        assert worker.wait(30) == 0
"""


@pytest.mark.parametrize("pure", ["", "1"])
def test_a_rehearsal_that_fails_is_not_tried_again(pure: str) -> None:
    done = support.run_script(SOURCE.format(rehearsal="1 / 0"), env={"EARLYFORK_PURE": pure})
    assert done.returncode == 0, done.stderr
    failures = done.stderr.count("a standby's rehearsal failed; its template forks no more")
    # Before the first failure is heard, a second standby is forked; a request in between makes the
    # template pass over one failure.
    assert 1 <= failures <= 5
    assert done.stderr.count("ZeroDivisionError") == failures
