"""What an installed wheel must do, in any interpreter: processes, files, values, calls, their ends.

Says which way it did that; `in C` as an argument demands the part in C.
"""

import os
import platform
import sys

import earlyfork
import earlyfork.command
import earlyfork.rpc

WORK = """
def work(sock, file, number):
    sock.sendall(b"%d %s" % (2 ** number, file.readline().encode()))
"""


def main() -> None:
    """One template, clones of it, a command and calls."""
    with open(__file__, encoding="utf-8") as file:  # noqa: PTH123 - no more than a user would
        template = earlyfork.new().eval(WORK).send_fh(file)
        for number in (10, 100):
            process = template.fork().send_arg(number)
            with process.run("work") as sock:
                first, _, line = sock.makefile().read().partition(" ")
            assert int(first) == 2**number, first
            assert line.startswith('"""') or number == 100, line  # both read the same open file
            assert process.wait(timeout=60) == 0
    with earlyfork.rpc.Client(earlyfork.new()) as client:
        assert client.call("math.hypot", 3, 4) == 5.0
    if os.access("/bin/true", os.X_OK):
        assert earlyfork.command.run(["/bin/true"], timeout=60).returncode == 0
    status = earlyfork.status()
    machine = f"{platform.machine()}, CPython {platform.python_version()}"
    libc = platform.libc_ver()[0] or "another libc"
    early = "early" if status.early else "launched"
    print(f"works: {machine}, {libc}, {early}, part in C: {status.part_in_c}")
    if sys.argv[1:] == ["in C"] and status.part_in_c != "yes":
        raise SystemExit("the part in C was wanted")


if __name__ == "__main__":
    main()
