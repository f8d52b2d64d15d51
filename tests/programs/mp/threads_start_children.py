"""Four threads start children; each start polls the children of all."""

import sys
import threading

import earlyfork.mp

ctx = earlyfork.mp.get_context()


def end(n):
    sys.exit(n)


if __name__ == "__main__":
    codes = []

    def start_some():
        for n in range(8):
            p = ctx.Process(target=end, args=(n,))
            p.start()  # polls the children of all threads
            p.join()
            codes.append((n, p.exitcode))

    threads = [threading.Thread(target=start_some) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    print(len(codes), all(n == code for n, code in codes))
