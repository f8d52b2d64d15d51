"""A child that waits is asked for, waited for, and ended by terminate() and by kill()."""

import multiprocessing as mp
import multiprocessing.connection
import signal

import earlyfork.mp

ctx = earlyfork.mp.get_context()


def wait(c):
    c.send(1)
    signal.pause()


if __name__ == "__main__":
    for name in ("terminate", "kill"):
        a, b = ctx.Pipe()
        p = ctx.Process(target=wait, args=(b,))
        p.start()
        a.recv()
        assert p.is_alive() and p.exitcode is None
        assert not mp.connection.wait([p.sentinel], 0)
        p.join(0)
        p.join(0.01)
        assert p.is_alive()
        assert p in mp.active_children()
        getattr(p, name)()
        assert mp.connection.wait([p.sentinel], 20) == [p.sentinel]
        p.join()
        assert not p.is_alive() and mp.active_children() == []
        assert mp.connection.wait([p.sentinel], 0)
        print(p.exitcode)
        p.close()
