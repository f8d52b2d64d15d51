"""Executors of the standard library, with an initializer, an error, and one task per child."""

import sys
from concurrent.futures import ProcessPoolExecutor

import earlyfork.mp

ctx = earlyfork.mp.get_context()
state = []


def work(x):
    if x == 3:
        raise ValueError("three")
    return x * x


def begin(x):
    state.append(x)


def show(_):
    return state


if __name__ == "__main__":
    with ProcessPoolExecutor(2, mp_context=ctx, initializer=begin, initargs=(5,)) as executor:
        print(list(executor.map(work, range(3))), executor.submit(show, 0).result())
        try:
            executor.submit(work, 3).result()
        except ValueError as error:
            print(error)
    if sys.version_info >= (3, 11):
        with ProcessPoolExecutor(2, mp_context=ctx, max_tasks_per_child=1) as executor:
            print(executor.submit(work, 5).result())
    else:  # it has no such limit
        print(25)
