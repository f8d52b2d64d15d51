"""What earlyfork.command has beyond subprocess; "large" in the arguments adds 100 MB both ways."""

import earlyfork

if __import__("sys").argv[1:2] == ["snapshot"]:
    from earlyfork.template import TEMPLATE  # noqa: F401

import os
import resource
import signal
import subprocess
import sys
import threading

from earlyfork import command


def prepared():
    """Runs in the new process."""
    import threading

    print(threading.active_count(), os.environ["MARK"], flush=True)


def output_of(argv, **options):
    return command.run(argv, capture_output=True, text=True, check=True, **options).stdout


# Settings, each in its place: all of it needs rights but the user, who comes last.
if os.getuid() == 0:
    script = "id -u; id -g; id -G; ulimit -n; nice; umask; cut -d' ' -f5 /proc/$$/stat; echo $$"
    text = output_of(
        ["sh", "-c", script],
        user=65534,
        group=65533,
        extra_groups=[7, 8],
        limits={resource.RLIMIT_NOFILE: (50, 60)},
        nice=5,
        umask=0o77,
        process_group=0,
    )
    uid, gid, groups, files, nice, umask, group, pid = text.splitlines()
    assert (uid, gid, {*groups.split()}) == ("65534", "65533", {"65533", "7", "8"}), text
    assert (files, nice, umask, group) == ("50", "5", "0077", pid), text
    # Who lost its rights still has nothing open that was not listed.
    assert output_of(["ls", "/proc/self/fd"], user=65534).split() == ["0", "1", "2", "3"]
try:
    command.run(["true"], process_group=99999999)
except PermissionError as error:
    assert error.filename is None
else:
    raise AssertionError
cpu = min(os.sched_getaffinity(0))
text = output_of(["grep", "Cpus_allowed_list", "/proc/self/status"], affinity={cpu})
assert text.split()[1] == str(cpu), text

# prepare: clean, with one thread, everything in place, before the command.
os.environ["MARK"] = "mark"
threading.Thread(target=threading.Event().wait, daemon=True).start()
assert output_of(["echo", "command"], prepare="work.prepares") == "1 mark\ncommand\n"
if earlyfork.status().early:
    try:
        command.run(["true"], prepare=prepared)
    except ValueError as error:
        assert "main program" in str(error), error
    else:
        raise AssertionError
for name, cause in (("work.prepare_fails", "told so"), ("work.no_such", "no_such")):
    try:
        command.run(["true"], prepare=name, stderr=subprocess.DEVNULL)
    except subprocess.SubprocessError as error:
        assert cause in str(error.__cause__), error.__cause__
    else:
        raise AssertionError(name)

# A terminal: its end is an end, its input ends, stderr may go elsewhere.
done = command.run(["sh", "-c", "tty; cat; echo end >&2"], pty=True, input=b"line\nopen")
assert done.returncode == 0
assert b"/dev/pts/" in done.stdout, done
assert done.stdout.endswith(b"line\r\nopenend\r\n"), done
with command.Popen(["sh", "-c", "read x; echo got $x"], pty=True, text=True, bufsize=1) as process:
    process.stdin.write("hello\n")
    assert process.stdout.read().splitlines()[-1] == "got hello"
with command.Popen(["sh", "-c", "kill -INT $$"], pty=True, stderr=-1) as process:
    assert process.stdout.read() == b""
assert process.returncode == -2
with command.Popen(["cat"], pty=True) as process:
    assert os.getsid(process.pid) == process.pid
    process.stdin.write(b"\x03")  # Ctrl-C, from the terminal
    process.stdin.flush()
    process.stdout.read()
assert process.returncode == -2

# Refused in words.
for options, error in (
    ({"preexec_fn": print}, ValueError),
    ({"restore_signals": False}, ValueError),
    ({"pty": True, "stdin": -1}, ValueError),
    ({"prepare": lambda: None}, ValueError),
    ({"timeout": 0.01}, subprocess.TimeoutExpired),
):
    try:
        command.run(["sleep", "100"], **options)
    except error:
        continue
    raise AssertionError(options)

# LD_PRELOAD is the command's, and nobody warns (this program runs with -W error).
assert output_of(["sh", "-c", "echo $LD_LIBRARY_PATH"], env={"LD_LIBRARY_PATH": "/x"}) == "/x\n"
os.environ["LD_LIBRARY_PATH"] = "/y"
assert output_of(["sh", "-c", "echo $LD_LIBRARY_PATH"], pass_fds=[2]) == "/y\n"
del os.environ["LD_LIBRARY_PATH"]

# SIGPIPE ends what writes to nobody, as in a shell.
with command.Popen(["yes"], stdout=subprocess.PIPE) as process:
    process.stdout.readline()
    process.stdout.close()
assert process.returncode == -signal.SIGPIPE

# Threads that start commands at the same time.
results = []


def starts(n):
    results.append(output_of(["echo", str(n)]))


threads = [threading.Thread(target=starts, args=(n,)) for n in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert sorted(results) == [f"{n}\n" for n in range(8)], results

if "large" in sys.argv:
    data = os.urandom(1 << 20) * 100
    assert command.run(["cat"], input=data, stdout=subprocess.PIPE).stdout == data
print("done")
