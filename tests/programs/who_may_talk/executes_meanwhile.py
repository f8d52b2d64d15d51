"""Makes processes while two threads execute commands, which look at what they inherited."""

import earlyfork
import os
import subprocess
import sys
import threading
import warnings
import work

seen, stop = set(), threading.Event()


def executes():
    while not stop.is_set():
        # close_fds=False: what is inheritable is inherited.
        done = subprocess.run(
            ["ls", "-l", "/proc/self/fd"],
            capture_output=True,
            text=True,
            check=False,
            close_fds=False,
        )
        seen.update(line.split("-> ")[1] for line in done.stdout.splitlines() if "->" in line)


def forks_and_executes():
    while not stop.is_set():
        pid = os.fork()
        if not pid:
            try:
                code = "import os\nfor f in os.listdir('/proc/self/fd'):\n try:\n  if "
                code += "'socket' in os.readlink('/proc/self/fd/' + f): os._exit(9)\n"
                code += " except FileNotFoundError: pass"
                os.execv(sys.executable, ["python", "-ISc", code])
            finally:
                os._exit(1)
        assert os.waitpid(pid, 0)[1] == 0, "a socket was inherited"


failures = []


def guarded(function):
    def run():
        try:
            function()
        except BaseException as error:
            failures.append(error)

    return threading.Thread(target=run)


threads = [guarded(executes), guarded(forks_and_executes)]
for thread in threads:
    thread.start()
warnings.simplefilter("ignore")
for n in range(120):
    with earlyfork.new() as process:
        process.send_fh(0).send_arg(n)
        with process.fork() as clone:
            clone.ready(20)
        process.run(work.types).close()
        process.sentinel
    if n % 40 == 0:
        earlyfork.new_exec(executable=sys.executable).ready(20).close()
stop.set()
for thread in threads:
    thread.join()
assert not failures, failures
assert not [name for name in seen if name.startswith("socket:")], seen
assert not [name for name in seen if "eventpoll" in name or "pidfd" in name], seen
