"""Takes a snapshot beside a thread of `threading`, beside one of `_thread`, and beside none."""

import earlyfork
import _thread
import support
import threading

event = threading.Event()
thread = threading.Thread(target=event.wait, name="the-threads-name")
thread.start()


def taken():
    try:
        from earlyfork.template import TEMPLATE  # noqa: F401 - or an error
    except earlyfork.TemplateError as error:
        return str(error)


text = taken()
assert "the-threads-name" in text and "other threads run" in text, text
event.set()
thread.join()
lock = _thread.allocate_lock()
lock.acquire()
begun = threading.Event()
_thread.start_new_thread(lambda: (begun.set(), lock.acquire(), lock.release()), ())
begun.wait()
text = taken()
assert "unnamed thread of _thread" in text, text
lock.release()
support.wait_until(lambda: not _thread._count())
from earlyfork.template import TEMPLATE

TEMPLATE.fork().ready(10)
