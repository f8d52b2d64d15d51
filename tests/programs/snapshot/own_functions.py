# Runs its own functions, which read what it had made. No docstring: at a prompt that is printed.
import os
import work

TABLE = {"made by": os.getpid()}


def answer(sock, *values):
    work.give(sock, (TABLE, __name__, os.getpid(), values))


class Asked:
    @classmethod
    def answer(cls, sock, *values):
        answer(sock, *values)


from earlyfork.template import TEMPLATE

TABLE["later"] = 1


def ask(function):
    process = TEMPLATE.fork().send_arg("x")
    table, name, pid, values = work.got(process.run(function))
    assert table == {"made by": os.getpid()}, table
    assert pid == process.pid != os.getpid()
    assert values == ("x",)
    assert process.wait(10) == 0
    return name


print(ask("answer"), ask(answer), ask(Asked.answer))
process = TEMPLATE.fork().eval("TABLE['evaluated'] = __name__; late = 1; del late; import __main__")
assert work.got(process.run(answer))[0] == {"made by": os.getpid(), "evaluated": "__main__"}
