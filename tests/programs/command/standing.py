"""Limits, niceness and CPUs of this program at the moment of the call are those of its commands."""

import earlyfork

import os
import resource
import subprocess

from earlyfork import command

SCRIPT = "nice; ulimit -S -n; ulimit -H -n; ulimit -S -c; grep Cpus_allowed: /proc/self/status"


def output_of(make, **options):
    reads, writes = os.pipe()
    process = make(["sh", "-c", SCRIPT], stdout=writes, **options)
    os.close(writes)
    with open(reads) as file:
        text = file.read()
    assert process.wait() == 0
    return text


def same(*makes):
    wanted = output_of(subprocess.Popen)
    for make in makes or (command.Popen, earlyfork.new_command):
        assert output_of(make) == wanted, (make, output_of(make), wanted)
    return wanted


before = same()
os.nice(3)
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (200, hard))
resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
assert same() != before
assert same().split()[:2] == ["3", "200"]

# What is said goes before.
text = output_of(command.Popen, nice=7, limits={resource.RLIMIT_NOFILE: (100, hard)})
assert text.split()[:2] == ["7", "100"], text
text = output_of(earlyfork.new_command, prepare=("os.nice", 2))
assert text.split()[:2] == ["5", "200"], text
print("done")
