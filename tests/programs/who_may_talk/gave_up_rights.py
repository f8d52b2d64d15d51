"""Has a worker that gives up its rights and then asks for processes: they have no more than it."""

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
            made = make().eval("def ids(s): import os; s.sendall(repr(os.getresuid()).encode())")
            with made.run("ids") as told:
                answers.append(told.recv(100).decode())
        except Exception as error:
            answers.append(repr(error))
    work.give(sock, answers)
""")
assert work.got(process.send_arg("x").run("f")) == ["(65534, 65534, 65534)"] * 2
assert process.wait(10) == 0
# And the template lives on for those who may.
assert work.got(earlyfork.new().send_arg(1).run(work.echo)) == (1,)
