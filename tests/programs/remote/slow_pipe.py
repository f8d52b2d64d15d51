"""Executes the words that are added, and passes what they say and hear on in the worst pieces."""

import os
import subprocess
import sys
import threading


def pump(source, target, size):
    while data := os.read(source, size):
        os.write(target, data)
    os.close(target)


process = subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
inner = (0, process.stdin.fileno(), 97)
outer = (process.stdout.fileno(), 1, 1)
threads = [threading.Thread(target=pump, args=args) for args in (inner, outer)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
os._exit(process.wait())
