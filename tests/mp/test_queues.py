"""What is handed to a worker and back: queues, locks, shared memory, connections, files, much."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mp.shared import Say


def test_queue_items_are_there_when_the_worker_has_ended(run: Say) -> None:
    """A feeder thread sends them in the exit functions of the worker."""
    out = run(
        "def fill(q):\n    for n in range(100):\n        q.put(str(n) * 1000)",
        """\
q = ctx.Queue()
p = ctx.Process(target=fill, args=(q,))
p.start()
print(sum(len(q.get()) for _ in range(100)))
p.join()
assert p.exitcode == 0
""",
    )
    assert out == "190000\n"


def test_locks_and_shared_memory(run_file: Say) -> None:
    assert run_file("shared_memory.py") == "150 True [0, 0, 0]\n"


def test_locks_of_the_main_module(run_file: Say) -> None:
    """Made once more in the template, usable there and further down, unlinked in the end."""
    assert run_file("locks_of_main.py") == "0\n"


def test_fds_and_connections_travel(run_file: Say) -> None:
    assert run_file("sends_connections.py") == "over a pipe over a socket 150\n"


def test_more_fds_than_one_message_takes(run: Say) -> None:
    out = run(
        """\
def count(q, ends):
    q.put((len(ends), len({os.fstat(end.fileno()).st_ino for end in ends})))
""",
        """\
import resource
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
ends = [end for _ in range(140) for end in mp.Pipe()]
q = ctx.SimpleQueue()
p = ctx.Process(target=count, args=(q, ends))
p.start()
print(*q.get())
p.join()
""",
    )
    assert out == "280 280\n"


def test_large_arguments(run: Say) -> None:
    out = run(
        "def size(q, data):\n    q.put(len(data))",
        """\
q = ctx.SimpleQueue()
p = ctx.Process(target=size, args=(q, bytes(30_000_000)))
p.start()
print(q.get())
p.join()
""",
    )
    assert out == "30000000\n"


def test_what_cannot_be_pickled_starts_nothing(run: Say) -> None:
    out = run(
        "",
        """\
fds = len(os.listdir("/proc/self/fd")) if os.path.exists("/proc") else 0
p = ctx.Process(target=lambda: None)
for _ in range(3):
    try:
        p.start()
    except Exception as error:
        print(type(error).__name__, p.exitcode, mp.active_children())
""",
    )
    assert len(out.splitlines()) == 3
    assert all(line.endswith("None []") for line in out.splitlines())
