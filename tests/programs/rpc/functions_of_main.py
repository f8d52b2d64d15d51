"""Functions that only this program has, in a worker that is no snapshot of it."""

import earlyfork
from earlyfork import rpc


def helper(number):
    return number + 1


def counts(number):
    return helper(number) * 2


def counts_up(number):
    yield from range(number)


if __name__ == "__main__":
    with rpc.Client(earlyfork.new()) as client:
        print(client.call(counts, 3), client.call(lambda: 1), [*client.stream(counts_up, 3)][-1:])
