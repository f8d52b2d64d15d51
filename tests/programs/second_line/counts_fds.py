"""Counts fds, here and at the forker, while linked workers run and when they have ended."""

import earlyfork
import gc
import support
import sys
import work
from earlyfork._child.children import FDS_PER_CHILD
from programs.second_line.kit import Workers, fds


def snapshot():
    import earlyfork.template

    return earlyfork.template.snapshot()


workers = Workers(sys.argv[1], snapshot)


def linked(count, function):
    made = [workers.make() for _ in range(count)]
    return made, [worker.run(function, linked=True) for worker in made]


def quiet():
    earlyfork.status()  # looks after those without a handle
    names = [support.comm(pid) for pid in support.children(workers.forker())]
    # There may be more standbys than it should keep; of each a forker has as many fds.
    held = FDS_PER_CHILD * len(names)
    return {*names} == {"ef-standby"} and (fds(), fds(workers.forker()) - held)


def settled():
    seen = []
    support.wait_until(lambda: seen.append(quiet()) or (seen[-1] and seen[-2:-1] == seen[-1:]))
    return seen[-1]


for _ in range(2):  # what is made once is there
    made, socks = linked(3, work.hold)
    assert all(sock.recv(1) == b"!" for sock in socks)
    for sock in socks:
        sock.close()
    assert [worker.wait(10) for worker in made] == [0] * 3
    del made
    gc.collect()
before = settled()
for end in ("waited for", "closed", "dropped", "killed"):
    ours = fds()
    made, socks = linked(10, work.hold)
    assert fds() == ours + 10 * 3  # a stream, a status socket, the second line
    assert all(sock.recv(1) == b"!" for sock in socks)
    if end == "closed":
        for worker in made:
            worker.close()
    if end == "dropped":
        worker = None
        del made
    if end == "killed":
        for worker in made:
            worker.kill()
    for sock in socks:
        sock.close()
    if end in ("waited for", "killed"):
        assert len({worker.wait(10) for worker in made}) == 1
        assert fds() == ours + 10  # the handles' status sockets
        for worker in made:
            worker.close()
    support.wait_until(lambda: quiet() == before)
    assert settled() == before
