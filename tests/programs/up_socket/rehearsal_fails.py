"""A standby's rehearsal fails: that is said, no more are forked ahead, and all else goes on."""

import earlyfork
import support
import work

PREPARED = """
import earlyfork._child.here

def fails():
    raise LookupError("rehearsed in vain")

earlyfork._child.here.rehearse(fails)
"""


def standbys():
    names = map(support.comm, support.children(template.pid))
    return [*names].count("ef-standby")


template = earlyfork.new().eval(PREPARED).require("work").ready(10)
for number in range(5):
    process = template.fork().send_arg(number)
    assert work.got(process.run(work.echo)) == (number,)
    assert process.wait(10) == 0
support.wait_until(lambda: not standbys())  # those that failed were used, too
assert work.got(template.fork().run(work.echo)) == ()
template.eval("earlyfork._child.here.rehearse(None)")
assert work.got(template.fork().run(work.echo)) == ()
assert template.ready(10).poll() is None
