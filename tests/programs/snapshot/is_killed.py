"""Kills its snapshot, and goes on asking it."""

import earlyfork
import os
import signal
import support
import work
from earlyfork.template import TEMPLATE

TEMPLATE.fork().ready(10)
pid = TEMPLATE.pid
os.kill(pid, signal.SIGKILL)
assert support.gone_within(pid)
for _ in range(5):
    try:
        TEMPLATE.fork().ready(10)
    except earlyfork.ProcessLost:  # a standby is a clone all the same, with nobody to ask
        continue
    except earlyfork.TemplateDied as error:
        assert str(pid) in str(error), error
        break
else:
    raise AssertionError("no word of it")
assert work.got(earlyfork.new().send_arg(1).run(work.echo)) == (1,)
