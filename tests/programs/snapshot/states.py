"""Takes three snapshots at different times."""

import earlyfork
import support
import work

state = ["first"]


def tell(sock):
    work.give(sock, state)


from earlyfork.template import TEMPLATE, snapshot

state.append("second")
second = snapshot()
state.append("third")
third = snapshot()
state.clear()
import earlyfork.template as again

assert again.TEMPLATE is TEMPLATE  # imported once, taken once
for _ in range(3):  # standbys too
    told = [work.got(t.fork().run(tell)) for t in (TEMPLATE, second, third)]
    assert told == [["first"], ["first", "second"], ["first", "second", "third"]], told
pids = [entry.pid for entry in earlyfork.status().templates if entry.name == "snapshot"]
assert len(set(pids)) == 3, earlyfork.status()
third.close()
support.wait_until(lambda: sum(not support.alive(pid) for pid in pids) == 1)
