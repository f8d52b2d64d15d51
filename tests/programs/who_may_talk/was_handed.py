"""Has a worker that gives up its rights, and uses a process that it was handed."""

import earlyfork
import work

process = earlyfork.new().eval("""
def f(sock, prepared):
    import os, earlyfork, work
    earlyfork.new().ready(10).close()  # an interpreter in /root can't be read later
    os.setgid(65534)
    os.setuid(65534)
    inner = earlyfork.new_from_fh(prepared)
    work.give(sock, work.got(inner.run("work:echo")))
""")
handed = earlyfork.new().require("work").send_arg("handed").to_fh()
assert work.got(process.send_fh(handed).run("f")) == ("handed",)
