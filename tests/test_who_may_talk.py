"""No name to connect to, no fd that leaks, no secret that a sibling sees, no fork for a stranger."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import support

if TYPE_CHECKING:
    from support import Run


@pytest.mark.parametrize("origin", ORIGINS)
def test_no_socket_has_a_name(run_script: Run, origin: str) -> None:
    """Neither in the filesystem nor in the abstract namespace, in any of the processes."""
    run_script(
        f"""
        import os
        {ORIGINS[origin]}
        import earlyfork
        import support, work
        from earlyfork.template import TEMPLATE
        kept = [earlyfork.new().ready(10), TEMPLATE.fork().ready(10)]
        kept.append(kept[0].fork().ready(10))
        running = earlyfork.new()
        sock = running.run(work.hold)
        assert sock.recv(1) == b"!"
        inodes = set()
        for pid in support.session(os.getsid(0)):
            for fd in os.listdir(f"/proc/{{pid}}/fd"):
                try:
                    target = os.readlink(f"/proc/{{pid}}/fd/{{fd}}")
                except FileNotFoundError:
                    continue
                if target.startswith("socket:["):
                    inodes.add(target[8:-1])
        assert len(inodes) > 10, inodes
        with open("/proc/net/unix") as file:
            rows = [line.split() for line in file][1:]
        ours = [row for row in rows if row[6] in inodes]
        assert len(ours) > 10
        assert all(len(row) == 7 for row in ours), [row for row in ours if len(row) > 7]
        """,
        check=True,
        env=support.with_work(),
    )


@pytest.mark.slow
@pytest.mark.parametrize("origin", ORIGINS)
def test_fds_are_close_on_exec_at_all_times(run_script: Run, origin: str) -> None:
    """Commands that another thread executes meanwhile never get one, whatever moment they catch."""
    run_script(
        f"""
        import os
        {ORIGINS[origin]}
        import earlyfork
        import subprocess, threading, work
        seen, stop = set(), threading.Event()

        def executes():
            while not stop.is_set():
                # close_fds=False: what is inheritable is inherited.
                done = subprocess.run(
                    ["ls", "-l", "/proc/self/fd"], capture_output=True, text=True, close_fds=False
                )
                seen.update(line.split("-> ")[1] for line in done.stdout.splitlines() if "->" in line)

        def forks_and_executes():
            while not stop.is_set():
                pid = os.fork()
                if not pid:
                    try:
                        code = "import os\\nfor f in os.listdir('/proc/self/fd'):\\n try:\\n  if "
                        code += "'socket' in os.readlink('/proc/self/fd/' + f): os._exit(9)\\n"
                        code += " except FileNotFoundError: pass"
                        os.execv({__import__("sys").executable!r}, ["python", "-ISc", code])
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
        import warnings
        warnings.simplefilter("ignore")
        for n in range(120):
            with earlyfork.new() as process:
                process.send_fh(0).send_arg(n)
                with process.fork() as clone:
                    clone.ready(20)
                process.run(work.types).close()
                process.sentinel
            if n % 40 == 0:
                earlyfork.new_exec(executable={__import__("sys").executable!r}).ready(20).close()
        stop.set()
        for thread in threads:
            thread.join()
        assert not failures, failures
        assert not [name for name in seen if name.startswith("socket:")], seen
        assert not [name for name in seen if "eventpoll" in name or "pidfd" in name], seen
        """,
        check=True,
        env=support.with_work(),
        timeout=55,
    )


SECRETS = """
import os
{first}
import earlyfork
import json, support, work

def hidden(word):
    return "".join(reversed(word))

def memory(pid):
    "All of a process's writable memory."
    found = b""
    with open(f"/proc/{{pid}}/maps") as maps, open(f"/proc/{{pid}}/mem", "rb", 0) as file:
        for line in maps:
            span, rights = line.split()[:2]
            if "w" in rights and "r" in rights:
                begin, end = (int(each, 16) for each in span.split("-"))
                file.seek(begin)
                found += file.read(end - begin)
    return found

for _ in range(3):
    earlyfork.new().ready(10).close()
template = earlyfork.status().templates[0].pid
words = [hidden(word) for word in ("tnemnorivne-terces", "tnemugra-terces", "lave-terces", "htap-terces")]
process = earlyfork.new(env={{**os.environ, "SECRET": words[0]}})
process.send_arg(words[1]).eval("token = args[0]", words[2]).ready(10)
def standbys():
    names = support.session(os.getsid(0))
    return [pid for pid in names if names[pid] == "ef-standby" and pid != process.pid]
support.wait_until(standbys)
pids = [template, *standbys()]
for pid in pids:
    kept = memory(pid)
    assert len(kept) > 1_000_000
    for word in words[:3]:
        assert word.encode() not in kept, (pid == template, support.describe(pid), word)
assert all(word.encode() in memory(process.pid) for word in words[:3])
# Nor in what is forked next, from the same template.
seen = work.got(earlyfork.new().run(work.environment))
assert "SECRET" not in seen
after = earlyfork.new().ready(10)
for word in words[:3]:
    assert word.encode() not in memory(after.pid), word
"""


@pytest.mark.root
@pytest.mark.parametrize("origin", ORIGINS)
def test_what_one_child_was_told_is_not_in_its_template_nor_in_the_next(
    run_script: Run, origin: str
) -> None:
    """The template only forks: environment, arguments and code never pass through it."""
    run_script(SECRETS.format(first=ORIGINS[origin]), check=True, env=support.with_work())


@pytest.mark.root
def test_a_worker_that_gave_up_its_rights_makes_no_template_fork(run_script: Run) -> None:
    run_script(
        """
        import earlyfork
        import work
        process = earlyfork.new().eval('''
        def f(sock, how):
            import os, earlyfork, work
            made = [earlyfork.new().ready(10)]  # as root: allowed
            made[0].close()
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
            answers = []
            for make in (earlyfork.new, earlyfork.sibling):
                try:
                    made = make()
                    made.ready(10)
                    answers.append("made")
                except PermissionError:
                    answers.append("refused")
                except Exception as error:
                    answers.append(repr(error))
            work.give(sock, answers)
        ''')
        assert work.got(process.send_arg("x").run("f")) == ["refused", "refused"]
        assert process.wait(10) == 0
        # And the template lives on for those who may.
        assert work.got(earlyfork.new().send_arg(1).run(work.echo)) == (1,)
        """,
        check=True,
        env=support.with_work(),
    )


@pytest.mark.root
def test_a_worker_without_rights_may_use_what_it_was_handed(run_script: Run) -> None:
    run_script(
        """
        import earlyfork
        import work
        process = earlyfork.new().eval('''
        def f(sock, prepared):
            import os, earlyfork, work
            earlyfork.new().ready(10).close()  # an interpreter in /root can't be read later
            os.setgid(65534)
            os.setuid(65534)
            inner = earlyfork.new_from_fh(prepared)
            work.give(sock, work.got(inner.run("work:echo")))
        ''')
        handed = earlyfork.new().require("work").send_arg("handed").to_fh()
        assert work.got(process.send_fh(handed).run("f")) == ("handed",)
        """,
        check=True,
        env=support.with_work(),
    )
