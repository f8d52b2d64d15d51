"""Forks, `at once` or `in steady use`: it, its child, and the child's child can go on."""

import earlyfork
import os
import sys
import traceback
import warnings
import work

warnings.simplefilter("error")


def use(tag):
    for number in range(3):
        process = earlyfork.new().send_arg(tag, number)
        assert work.got(process.run(work.echo)) == (tag, number)
        assert process.wait(10) == 0
    template = earlyfork.new().send_arg(tag)
    assert work.got(template.fork().run(work.echo)) == (tag,)


if sys.argv[1] == "in steady use":
    use("before")
mine = earlyfork.new().send_arg("mine").ready(10)
running = earlyfork.new()
held = running.run(work.hold)
assert held.recv(1) == b"!"
pid = os.fork()
if not pid:
    status = 1
    try:
        held.close()
        for call in (mine.ready, mine.fork, running.wait, running.kill, lambda: mine.send_arg(1)):
            try:
                call()
            except earlyfork.ProcessStateError:
                continue
            raise AssertionError("it belongs to the parent")
        repr(mine), repr(running), earlyfork.status()
        use("child")
        inner = os.fork()
        if not inner:
            use("grandchild")
            os._exit(0)
        assert os.waitpid(inner, 0)[1] == 0
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)
use("parent")
assert os.waitpid(pid, 0)[1] == 0
assert work.got(mine.run(work.echo)) == ("mine",)
assert running.poll() is None
held.close()
assert running.wait(10) == 0
use("parent")
