"""A program with each kind of process, and calls: one runs, one waits. Says the pids of its own."""

import earlyfork
import json
import sys

from earlyfork import rpc
from earlyfork.template import TEMPLATE


def main() -> None:
    visible = rpc.Client(earlyfork.new(), visible=True)
    for number in range(3):
        assert visible.call("operator.add", number, 1) == number + 1
    visible.submit("time.sleep", 60)
    visible.submit("operator.add", 1, 2)
    hidden = rpc.Client(earlyfork.new())
    hidden.call("operator.add", 1, 2)
    plain = earlyfork.new()
    sock = plain.run("work:echo_stream")
    launched = TEMPLATE.fork()
    sock2 = launched.run("work:echo_stream")
    ends = earlyfork.new()
    ends.run("work:returns")
    ends.wait()  # a template makes standbys when a child has ended
    print(json.dumps([visible.process.pid, hidden.process.pid, plain.pid, launched.pid]))
    sys.stdout.flush()
    sys.stdin.readline()
    visible.kill()
    del sock, sock2


main()
