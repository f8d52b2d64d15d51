"""An app that uses the start method in three ways, and knows nothing of freezers."""

import argparse
import earlyfork.mp  # noqa: F401 - registers the start method
import multiprocessing
from concurrent.futures import ProcessPoolExecutor

print("top level", flush=True)


def square(x):
    return x * x


def nest(x):
    with multiprocessing.get_context("earlyfork").Pool(1) as pool:
        return pool.apply(square, (x,))


def main():
    argparse.ArgumentParser().parse_args()  # any argument is an error
    context = multiprocessing.get_context("earlyfork")
    queue = context.Queue()
    process = context.Process(target=queue.put, args=(3,))
    process.start()
    print(queue.get())
    process.join()
    with context.Pool(2) as pool:
        print(pool.map(nest, range(4)))
    with ProcessPoolExecutor(2, mp_context=context) as executor:
        print(list(executor.map(square, range(3))))


if __name__ == "__main__":
    main()
