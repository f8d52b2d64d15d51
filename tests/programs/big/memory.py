"""What the programs here share: templates with much memory, and how it is laid out."""

#: MB of each kind of template.
SIZE = 64
MAKE = {
    "buffer": f"""
made = bytearray({SIZE} << 20)
for place in range(0, len(made), 4096):
    made[place] = place >> 12 & 255
def total():
    return sum(made[::4096])
def write():
    made[:: 1 << 21] = bytes([1]) * (len(made) >> 21)
""",
    "objects": f"""
made = [(bytes(900), 1000 + number) for number in range({SIZE} * 1000)]
def total():
    return sum(pair[1] for pair in made)
def write():
    for pair in made[::2000]:
        pass
""",
}
#: What its workers do: say that they are there, say what they see, write here and there.
WORK = """
def hold(sock):
    sock.sendall(b"x")
    sock.recv(1)
def look(sock):
    sock.sendall(b"%d" % total())
def write_and_hold(sock):
    write()
    hold(sock)
"""


def megabytes(pid, key):
    """Rss, Pss, Private_Dirty or AnonHugePages of a process."""
    with open(f"/proc/{pid}/smaps_rollup") as file:
        return next(int(line.split()[1]) >> 10 for line in file if line.startswith(f"{key}:"))


def huge(pid):
    """Whether most of the memory of a process lies in huge pages: all that can."""
    return megabytes(pid, "AnonHugePages") > SIZE * 0.7
