"""A default timeout for sockets, set in the main program (`before` or `after` the import) or there.

A short one ends no process that waits, and no batch half way; a long one makes nobody wait.
"""

import socket
import sys
import time

WAY = sys.argv[1]
SHORT = 0.03
if WAY == "before":
    socket.setdefaulttimeout(SHORT)
import earlyfork
import earlyfork.mp

import support

THERE = """
import time

def takes(sock, big):
    assert len(big) == 8 << 20
    raise SystemExit(5)
"""


def lives_on(process):
    """It waits for what is sent to it longer than the timeout."""
    for _ in support.ticks(4 * SHORT):
        process.poll()
    return process.ready(10)


def check(template):
    template.eval(THERE)
    lives_on(template)
    for _ in range(3):
        process = lives_on(template.fork())
        process.eval("time.sleep(.1)").send_arg(bytes(8 << 20)).run("takes").close()
        assert process.wait(20) == 5
    clone = lives_on(lives_on(template.fork()).fork())
    clone.send_arg(bytes(8 << 20)).run("takes").close()
    assert clone.wait(20) == 5


if __name__ == "__main__":
    if WAY == "there":
        check(earlyfork.new().eval(f"import socket; socket.setdefaulttimeout({SHORT})"))
        slow = earlyfork.new().eval("import socket; socket.setdefaulttimeout(60)" + THERE)
        begun = time.monotonic()
        for _ in range(5):
            worker = slow.fork()
            worker.send_arg(bytes(8 << 20)).run("takes").close()
            assert worker.wait(20) == 5
        failed = slow.fork().eval("1 / 0")
        try:
            failed.ready(20)
        except earlyfork.RemoteError:
            assert time.monotonic() - begun < 20
    else:
        socket.setdefaulttimeout(SHORT)
        check(earlyfork.new())
        check(earlyfork.new_exec())
    process = earlyfork.mp.get_context().Process(target=len, args=(bytes(8 << 20),))
    process.start()
    process.join(20)
    assert process.exitcode == 0, process.exitcode
    print("ok")
