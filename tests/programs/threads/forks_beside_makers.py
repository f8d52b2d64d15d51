"""Forks while four threads make processes; each child goes on making some."""

import earlyfork
import faulthandler
import os
import signal
import threading
import warnings
import work

warnings.simplefilter("ignore")
template = earlyfork.new().require("work")
stop, failures = threading.Event(), []
faulthandler.dump_traceback_later(50, exit=True)


def creates():
    try:
        while not stop.is_set():
            with earlyfork.new() as process:
                assert work.got(process.send_arg(1).run(work.echo)) == (1,)
                assert process.wait(20) == 0
            template.fork().ready(20).close()
    except BaseException as error:
        failures.append(error)


threads = [threading.Thread(target=creates) for _ in range(4)]
for thread in threads:
    thread.start()
for n in range(40):
    pid = os.fork()
    if not pid:
        status = 1
        try:
            signal.alarm(20)
            process = earlyfork.new().send_arg(n)
            assert work.got(process.run(work.echo)) == (n,)
            assert process.wait(10) == 0
            earlyfork.status()
            try:
                template.fork()
            except earlyfork.ProcessStateError:
                status = 0
        finally:
            os._exit(status)
    assert os.waitpid(pid, 0)[1] == 0, n
stop.set()
for thread in threads:
    thread.join()
assert not failures, failures
