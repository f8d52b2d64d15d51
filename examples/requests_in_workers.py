"""A web server on asyncio that puts the socket of each request into a worker.

The event loop accepts connections and does nothing else. The worker reads the request from the
socket and answers it, whatever that takes; a client that stays away for two seconds is given up.

    python requests_in_workers.py
"""

import earlyfork

import asyncio
import socket

from earlyfork import aio

process = earlyfork.new().eval("""
import os

def answer(connection):
    with connection:
        path = connection.recv(4096).split(b" ")[1].decode()
        body = f"{path} from worker\\n".encode()
        head = f"HTTP/1.0 200 OK\\r\\nContent-Length: {len(body)}\\r\\n\\r\\n"
        connection.sendall(head.encode() + body)
    return path
""")


async def serve(listener: socket.socket, client: aio.Client, count: int) -> None:
    loop = asyncio.get_running_loop()
    for _ in range(count):
        connection, _ = await loop.sock_accept(listener)
        connection.setblocking(True)  # as the worker is to find it
        with connection:
            await asyncio.wait_for(client.call("answer", connection), 2)


async def fetch(port: int, path: str) -> str:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {path} HTTP/1.0\r\n\r\n".encode())
    text = (await reader.read()).decode()
    writer.close()
    await writer.wait_closed()
    return text.splitlines()[-1]


async def main() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        port = listener.getsockname()[1]
        async with aio.Client(process) as client:
            serving = asyncio.create_task(serve(listener, client, 2))
            for path in ("/first", "/second"):
                print(await fetch(port, path))
            await serving


if __name__ == "__main__":
    asyncio.run(main())
