"""Has a child of multiprocessing that makes a process."""

import earlyfork
import multiprocessing


def child(pipe):
    process = earlyfork.new()
    import work

    pipe.send(work.got(process.run(work.pid)) == process.pid)
    process.wait(10)


if __name__ == "__main__":
    near, far = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=child, args=(far,))
    process.start()
    print(near.recv())
    process.join()
