"""A worker patches itself, and uses threads and commands then."""

import earlyfork

import support

workers = [earlyfork.new().send_arg(n) for n in range(4)]
sockets = [worker.run("there.patches_itself") for worker in workers]
assert [worker.wait(30) for worker in workers] == [0, 1, 2, 3]
assert [sock.recv(10) for sock in sockets] == [b"late"] * 4
(template,) = [entry.pid for entry in earlyfork.status().templates]
support.wait_until(lambda: "Z" not in map(support.state, support.children(template)))
