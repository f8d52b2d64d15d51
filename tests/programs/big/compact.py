"""compact() of a template, in order; what its workers share, see and copy."""

import sys

import earlyfork
import memory
import support

kind = sys.argv[1]
template = earlyfork.new().eval(memory.MAKE[kind]).eval(memory.WORK)


def ask(name):
    process = template.fork()
    with process.run(name) as sock:
        said = sock.recv(100)
    assert process.wait(30) == 0
    return said


before = ask("look")
assert not memory.huge(template.pid)
standing = template.fork().ready(30)  # of what it was before, as the standbys are
support.wait_for_standby()
template.compact()
# The standbys are gone: nobody but this one has the old pages.
support.wait_until(lambda: memory.megabytes(standing.pid, "Pss") > memory.SIZE * 0.9)
after = template.fork().ready(30)  # in order: of what it is now, and no such standby
assert memory.huge(template.pid), memory.megabytes(template.pid, "AnonHugePages")
assert memory.huge(after.pid)
assert not memory.huge(standing.pid)
standing.close()
after.close()
assert ask("look") == before

workers = [template.fork() for _ in range(3)]
socks = [worker.run("write_and_hold") for worker in workers]
assert [sock.recv(1) for sock in socks] == [b"x"] * 3
for worker in workers:  # small pages are copied, and not 2 MB for each that is written to
    private = memory.megabytes(worker.pid, "Private_Dirty")
    assert private < 12, private
assert memory.huge(template.pid)
assert ask("look") == before
for sock in socks:
    sock.close()
template.compact().compact().ready(30)  # nothing is left to do
assert memory.megabytes(template.pid, "Rss") < memory.SIZE * 1.5

# What is half missing is left as it is: it would grow.
SPARSE = """
import mmap
sparse = mmap.mmap(-1, args[0] << 20, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
sparse[::8192] = bytes([1]) * (len(sparse) >> 13)
"""
sparse = earlyfork.new().eval(SPARSE, memory.SIZE).compact().ready(30)
assert memory.megabytes(sparse.pid, "Rss") < memory.SIZE * 0.8
