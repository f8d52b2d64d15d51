"""Three children count under a lock, in shared memory of both kinds."""

from multiprocessing.shared_memory import SharedMemory

import earlyfork.mp

ctx = earlyfork.mp.get_context()


def add(n, lock, name):
    for _ in range(50):
        with lock:
            n.value += 1
    there = SharedMemory(name)
    there.buf[0] += 1
    there.close()


if __name__ == "__main__":
    memory = SharedMemory(create=True, size=10)
    n, lock = ctx.Value("i", 0, lock=False), ctx.Lock()
    workers = [ctx.Process(target=add, args=(n, lock, memory.name)) for _ in range(3)]
    for p in workers:
        p.start()
    for p in workers:
        p.join()
    print(n.value, memory.buf[0] > 0, [p.exitcode for p in workers])
    memory.close()
    memory.unlink()
