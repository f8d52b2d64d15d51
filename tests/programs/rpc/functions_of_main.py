"""Functions and classes that only this program has, in a worker that is no snapshot of it."""

import sys

import earlyfork
from earlyfork import rpc


class Point:
    def __init__(self, x):
        self.x = x


def helper(number):
    return number + 1


def counts(number):
    return helper(number) * 2


def counts_up(number):
    yield from range(number)


def moved(point):
    return Point(helper(point.x))


if __name__ == "__main__":
    with rpc.Client(earlyfork.new()) as client:
        assert client.call("builtins.repr", "__main__") == "'__main__'"
        if sys.argv[1:] == ["without cloudpickle"]:
            sys.modules["cloudpickle"] = None
            for value in (Point(1), [Point], {"key": helper}):
                try:
                    client.call("builtins.repr", value)
                except ValueError as error:
                    print(error)
        else:
            print(client.call(counts, 3), client.call(lambda: 1), [*client.stream(counts_up, 3)])
            found = client.call(moved, Point(1))
            print(type(found) is Point, found.x)
