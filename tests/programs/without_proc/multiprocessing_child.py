"""Has a child by the start method, beside a thread, with an umask of its own."""

import earlyfork.mp
import os
import threading


def ask(answers):
    answers.put(os.umask(0))


if __name__ == "__main__":
    context = earlyfork.mp.get_context()
    go = threading.Event()
    thread = threading.Thread(target=go.wait)
    thread.start()
    os.umask(0o27)
    answers = context.Queue()
    worker = context.Process(target=ask, args=(answers,))
    worker.start()
    print(oct(answers.get(timeout=10)), oct(os.umask(0)))
    worker.join()
    go.set()
    thread.join()
