"""Has workers of its snapshot that make processes. Begins with the import, or does not."""

import work

SECRET = 1


def within(sock):
    import earlyfork

    process = earlyfork.new()
    process.eval("import __main__; assert not hasattr(__main__, 'SECRET')")
    process.eval("assert not hasattr(__main__, '__file__')").ready(10)
    with open(f"/proc/{process.pid}/stat") as file:
        parent = int(file.read().rpartition(")")[2].split()[1])
    pid = work.got(process.run(work.pid))
    work.give(sock, (pid == process.pid, process.wait(10), parent))


def further(sock):
    import earlyfork

    process = earlyfork.new().send_arg(2)
    work.give(sock, len(set(work.got(process.run(work.nested)))))


from earlyfork.template import TEMPLATE
import earlyfork

for _ in range(2):
    process = TEMPLATE.fork()
    right, status, parent = work.got(process.run(within))
    assert (right, status) == (True, 0)
    assert process.wait(10) == 0
    templates = {t.pid: t.name for t in earlyfork.status().templates}
    if "early" in templates.values():
        assert templates[parent] == "early", (parent, templates)
assert work.got(TEMPLATE.fork().run(further)) == 3
