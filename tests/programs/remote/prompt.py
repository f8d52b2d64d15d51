"""Connects through a command that waits for ever before it starts anything."""

import sys

import earlyfork
from earlyfork import remote

if __name__ == "__main__":
    command = ["sh", "-c", f"echo $$ >{sys.argv[1]}; exec sleep 1000", "sh"]
    host = remote.connect(command)
    child = host.fork()
    child.run("time.sleep")
    try:
        host.ready()
    except earlyfork.EarlyForkError as error:
        print(error)
