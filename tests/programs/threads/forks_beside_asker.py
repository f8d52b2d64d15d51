"""Forks while another thread polls a template and has fds of a request."""

import earlyfork
import os
import support
import threading
import warnings
import weakref
import work
from earlyfork._origin import default
from earlyfork._owner.own import Owns, owned

warnings.simplefilter("ignore")  # 3.12 and later warn of any fork beside threads
assert work.got(earlyfork.new().run(work.echo)) == ()
template = default._now.template
here, far = os.pipe()
sent = Owns([owned(int, far)])
template._in_flight += (weakref.ref(sent),)
template._watch.suspect = True
thread = threading.Thread(target=template._standbys.gone, args=(template,))  # polls for a second
thread.start()
support.wait_until(lambda: not template._watch.suspect)  # and so polls
pid = os.fork()
if not pid:
    os.close(here)
    try:
        os.fstat(far)
    except OSError:
        assert work.got(earlyfork.new().send_arg(1).run(work.echo)) == (1,)
        os._exit(7)
    os._exit(1)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
thread.join()
