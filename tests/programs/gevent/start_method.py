"""Processes of the start method, started and joined by greenlets: patched `before` or `after`."""

import sys

if sys.argv[1] == "before":
    from gevent import monkey

    monkey.patch_all()
    import warnings

    warnings.simplefilter("ignore")
import earlyfork
import earlyfork.mp

if sys.argv[1] == "after":
    from gevent import monkey

    monkey.patch_all()

import gevent

if __name__ == "__main__":
    import kit

    context = earlyfork.mp.get_context()

    def one(number):
        process = context.Process(target=sys.exit, args=(number,))
        process.start()
        process.join(20)
        return process.exitcode

    jobs = [gevent.spawn(one, n) for n in range(10)]
    assert [job.get(timeout=60) for job in jobs] == list(range(10))

    import time

    process = context.Process(target=time.sleep, args=(60,))
    process.start()
    with kit.Ticks() as ticks:
        process.join(0.1)
        assert process.exitcode is None
        assert ticks.count > 5, ticks.count
    process.terminate()
    process.join(20)
    assert process.exitcode == -15, process.exitcode
    print("ok")
