"""Starts workers while its working directory is no more: told in words, by each kind of start."""

import os
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import resource_tracker

import earlyfork
import earlyfork.mp

context = earlyfork.mp.get_context()


def refused(start):
    try:
        start()
    except FileNotFoundError as error:
        return "os.chdir" in str(error)
    return False


def work():
    return os.path.basename(os.getcwd())


if __name__ == "__main__":
    # The stdlib launches it with the first lock; Python 3.13.0 can't import `socket` in no directory.
    resource_tracker.ensure_running()
    os.mkdir("gone")
    os.mkdir("other")
    before = os.getcwd()
    os.chdir("gone")
    os.rmdir("../gone")
    # The core hands over the directory itself.
    process = earlyfork.new().eval("import os\ndef work(sock): os.stat('.')")
    process.run("work").close()
    print(process.wait(10))
    print(refused(context.Process(target=work).start), refused(lambda: context.Pool(2)))
    with ProcessPoolExecutor(1, mp_context=context) as executor:
        print(refused(lambda: executor.submit(work)))
    os.chdir(before + "/other")
    with context.Pool(1) as pool:
        print(pool.apply(work))
