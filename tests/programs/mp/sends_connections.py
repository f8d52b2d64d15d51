"""Sends a connection, a socket, and a hundred and fifty more connections."""

import socket

import earlyfork.mp

ctx = earlyfork.mp.get_context()


def talk(connection, sock, lots):
    for c in lots:
        c.send(1)
    sock.sendall(b"over a socket")
    connection.send("over a pipe")


if __name__ == "__main__":
    a, b = ctx.Pipe()
    s, t = socket.socketpair()
    lots = [ctx.Pipe() for _ in range(150)]
    p = ctx.Process(target=talk, args=(b, t, [far for _, far in lots]))
    p.start()
    b.close()
    t.close()
    print(a.recv(), s.recv(100).decode(), sum(near.recv() for near, _ in lots))
    p.join()
