"""gevent is patched, and has a loop, in a template; its workers use it, too."""

import earlyfork

import support

template = earlyfork.new().eval("from gevent import monkey; monkey.patch_all()")
template.eval("import gevent; gevent.sleep(.01); import subprocess; subprocess.run(['true'])")
template.eval("import socket; socket.getaddrinfo('localhost', 80)")  # by a thread of gevent's pool
template.require("there").ready(20)
for _ in range(3):
    workers = [template.fork().send_arg(n) for n in range(6)]
    for worker in workers:
        worker.run("there.uses_its_loop").close()
    assert [worker.wait(20) for worker in workers] == [0, 1, 2, 3, 4, 5]
    template.eval("gevent.sleep(.001); import time; time.sleep(.001)").ready(20)
support.wait_until(lambda: "Z" not in map(support.state, support.children(template.pid)))
sock = template.fork().run("there.says_what_it_is")
assert sock.recv(10) == b"patched"
sock.close()
print(template.pid)
