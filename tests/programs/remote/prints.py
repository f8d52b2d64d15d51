"""What a process over there prints comes out here, before the news of its end."""

import sys

from earlyfork import remote

if __name__ == "__main__":
    host = remote.connect(["env"], python=sys.executable)
    remote.ship(host, "remote_work")
    process = host.fork().send_arg("hello")
    process.run("remote_work.prints").close()
    assert process.wait(10) == 0
    print("end", flush=True)
