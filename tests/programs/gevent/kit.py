"""What the programs share: a greenlet that ticks, and whether it does while something is waited for."""

import os

import gevent

import support


class Ticks:
    """Counts how often another greenlet runs while this block is executed."""

    def __enter__(self):
        self.count = 0
        self.greenlet = gevent.spawn(self.tick)
        return self

    def tick(self):
        while True:
            self.count += 1
            gevent.sleep(0.005)

    def __exit__(self, *_):
        self.greenlet.kill()


def no_children():
    """Nothing that this process has started is left, be it as a zombie."""
    support.wait_until(lambda: not support.children(os.getpid()))


def no_zombies(pid):
    """A template has reaped all that it forked."""
    support.wait_until(lambda: "Z" not in map(support.state, support.children(pid)))
