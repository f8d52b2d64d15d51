"""Has a worker that gives up its rights and then asks for processes."""

import earlyfork
import work

process = earlyfork.new().eval("""
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
""")
assert work.got(process.send_arg("x").run("f")) == ["refused", "refused"]
assert process.wait(10) == 0
# And the template lives on for those who may.
assert work.got(earlyfork.new().send_arg(1).run(work.echo)) == (1,)
