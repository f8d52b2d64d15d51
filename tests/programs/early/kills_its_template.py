"""Kills its template, twice: each time it is replaced, with one warning."""

import earlyfork
import os
import signal
import support
import warnings
import work


def new():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        process = earlyfork.new()
    assert work.got(process.run(work.pid)) == process.pid
    assert process.wait(10) == 0
    return [(w.category.__name__, str(w.message), w.filename) for w in caught]


def kill():
    [template] = earlyfork.status().templates
    os.kill(template.pid, signal.SIGKILL)
    # A standby that it was just forking holds its sockets for a moment more.
    support.wait_until(lambda: not earlyfork.status().templates)
    return str(template.pid)


assert new() == []
assert new() == []
pid = kill()
assert not earlyfork.status().early
[(category, text, filename)] = new()
assert category == "EarlyForkWarning" and pid in text and "early" in text, text
assert filename == __file__, filename
assert new() == []
assert "the early template" in earlyfork.status().reason, earlyfork.status()
pid = kill()
[(category, text, filename)] = new()
assert category == "EarlyForkWarning" and pid in text, text
assert new() == []
