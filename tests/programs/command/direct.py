"""Commands that the early template executes itself, and whether everything is as it should be."""

import earlyfork

import os
import shutil
import signal
import subprocess
import tempfile


def output_of(argv, **options):
    reads, writes = os.pipe()
    process = earlyfork.new_command(argv, stdout=writes, **options)
    os.close(writes)
    with open(reads) as file:
        text = file.read()
    assert process.wait(10) >= 0, process
    return text


def made_by(process):
    with open(f"/proc/{process.pid}/stat") as file:
        return int(file.read().rpartition(")")[2].split()[1])


early = earlyfork.status().early

# It is the template's own child, and the handle works as any other.
process = earlyfork.new_command(["sleep", "100"])
template = made_by(process)
with open(f"/proc/{template}/comm") as file:
    assert file.read() == "ef-template\n"
assert process.poll() is None
process.terminate()
assert process.wait(10) == -signal.SIGTERM
assert earlyfork.new_command(["sh", "-c", "exit 42"]).wait(10) == 42

# Fresh signals, nothing open, the caller's surroundings as they are now.
signal.signal(signal.SIGUSR1, signal.SIG_IGN)
os.set_inheritable(os.open("/", os.O_RDONLY), True)
text = output_of(["sh", "-c", "ls /proc/self/fd; grep ^Sig[BI] /proc/self/status"])
*fds, _, blocked, _, ignored = text.split()
assert fds == ["0", "1", "2", "3"], text
# Signals 32 and 33 are glibc's own; what its posix_spawn starts ignores them.
assert not (int(blocked, 16) | int(ignored, 16)) & ~(3 << 31), text
folder = os.path.realpath(tempfile.mkdtemp())
os.chdir(folder)
os.umask(0o027)
os.environ["NEW"] = "value"
assert output_of(["sh", "-c", "pwd; umask; echo $NEW"]) == f"{folder}\n0027\nvalue\n"
os.chdir("/")
os.rmdir(folder)
assert output_of(["pwd"], cwd="/usr", env={"PATH": os.defpath}, umask=0) == "/usr\n"
text = output_of(["sh", "-c", "ps -o sid= -p $$; echo $$"], start_new_session=True)
assert len({*text.split()}) == 1, text

# Streams: closed here, replaced here, nothing.
with tempfile.TemporaryFile() as file:
    kept = os.dup(2)
    os.dup2(file.fileno(), 2)
    assert earlyfork.new_command(["sh", "-c", "echo to stderr >&2"]).wait(10) == 0
    os.dup2(kept, 2)
    assert os.pread(file.fileno(), 100, 0) == b"to stderr\n"
os.close(0)
assert earlyfork.new_command(["sh", "-c", "! read line"]).wait(10) == 0
assert output_of(["cat"], stdin=subprocess.DEVNULL) == ""

# Failures, as there: by the template, by a process that was told nothing else, by one in Python.
folder = tempfile.mkdtemp()
for name, text in (
    ("no-format", "echo\n"),
    ("no-interpreter", "#!/no/such\n"),
    ("busy", "#!/bin/sh\n"),
):
    with open(f"{folder}/{name}", "w") as file:
        file.write(text)
    os.chmod(f"{folder}/{name}", 0o755)
os.mkdir(f"{folder}/shut", 0)
busy = open(f"{folder}/busy", "a")
path = {"PATH": f"/no/such:{folder}/shut:{folder}:"}
others = [] if os.getuid() == 0 else [(["true"], {"cwd": f"{folder}/shut"})]


def raised_by(function, *args, **options):
    try:
        function(*args, **options)
    except OSError as error:
        return type(error), error.args, error.filename
    raise AssertionError((args, options))


def becomes(argv, **options):
    earlyfork.new().exec(argv, **options).ready(10)


for argv, options in (
    (["no-such"], {}),
    (["/etc/passwd"], {}),
    ([folder], {}),
    ([f"{folder}/no-format"], {}),
    ([f"{folder}/no-interpreter"], {}),
    ([f"{folder}/no-format/below"], {}),
    ([f"{folder}/busy"], {}),
    (["no-format"], {"env": path}),
    (["no-such"], {"env": path}),
    (["busy"], {"env": {"PATH": f"{folder}/no-format:{folder}"}}),
    (["./busy"], {"cwd": folder}),
    (["true", "x" * 200_000], {}),
    (["true"], {"cwd": "/no/such/place"}),
    (["true"], {"cwd": f"{folder}/busy"}),
    *others,
):
    theirs = raised_by(subprocess.Popen, argv, **options)
    assert raised_by(earlyfork.new_command, argv, **options) == theirs, argv
    ours = raised_by(becomes, argv, **options)
    assert ours == theirs, (argv, options, ours, theirs)
    ours = raised_by(earlyfork.new_command, argv, prepare="os.getpid", **options)
    assert ours == theirs, (argv, options, ours, theirs)
busy.close()
assert earlyfork.new_command(["busy"], env=path).wait(10) == 0
assert earlyfork.new().exec(["busy"], env=path).wait(10) == 0
shutil.rmtree(folder)

# What the template can't do is done elsewhere.
process = earlyfork.new_command(["sleep", "100"], linked=True)
assert made_by(process) == template
process.kill()
assert process.wait(10) == -9

# In a worker, its forker is asked.
process = earlyfork.new()
with process.run("work.runs_commands") as sock:
    assert sock.recv(100) == b"from a worker\n"
assert process.wait(10) == 0
print("done", early)
