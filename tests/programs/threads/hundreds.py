"""Has 250 threads that create, wait, kill, drop, clone and share processes at once."""

import earlyfork
import signal
import support
import threading
import traceback
import work

template = earlyfork.new().require("work")
failures = []
shared = earlyfork.new()
shared_sock = shared.run(work.hold)
assert shared_sock.recv(1) == b"!"


def waits(n):
    process = earlyfork.new().send_arg(n)
    assert work.got(process.run(work.echo)) == (n,)
    assert process.wait(30) == 0


def kills(n):
    process = template.fork()
    assert process.run(work.stubborn).recv(1) == b"!"
    process.kill()
    assert process.wait(30) == -signal.SIGKILL


def drops(n):
    process = earlyfork.new().eval("x = 1")
    if n % 2:
        process.ready(30)


def clones(n):
    process = template.fork().send_arg(n)
    clone = process.fork()
    assert work.got(clone.run(work.echo)) == (n,)
    assert clone.wait(30) == 0


def shares(n):
    assert shared.wait(30) == 0
    assert support.readable_within(shared.sentinel, 5)


jobs = [waits, kills, drops, clones, shares]
gate = threading.Barrier(250)


def thread(n):
    gate.wait()
    try:
        jobs[n % len(jobs)](n)
    except BaseException:
        failures.append(traceback.format_exc())


threads = [threading.Thread(target=thread, args=(n,)) for n in range(250)]
for one in threads:
    one.start()
shared_sock.close()
for one in threads:
    one.join(50)
assert not any(one.is_alive() for one in threads), "a thread hangs"
assert not failures, failures[0] + str(len(failures))
template.close()
template = None


def left():
    return support.left_in_session([entry.pid for entry in earlyfork.status().templates])


support.wait_until(lambda: not left())
assert earlyfork.status().processes == (), earlyfork.status()
