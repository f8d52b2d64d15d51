"""A crawler under asyncio. Pages are fetched by tasks, and read by workers.

Who reads pages of strangers meets some that take for ever, and some that end the parser. Here each
page is read in another process: the loop goes on, a page that takes too long is given up, and one
that kills its worker is named. The site is a small one that this program serves itself.

    python crawler.py
"""

import earlyfork

import asyncio
import os
import re
import signal
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SITE = {
    "/": "<a href='/one'>1</a> <a href='/two'>2</a> <a href='/trap'>!</a>",
    "/one": "<a href='/'>home</a> <a href='/three'>3</a>",
    "/two": "<a href='/three'>3</a> <a href='/bomb'>?</a>",
    "/three": "the end",
    "/trap": "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "/bomb": "bomb",
}


def links(page: str) -> list[str]:
    """What a page points to."""
    if page == "bomb":
        os.kill(os.getpid(), signal.SIGKILL)
    re.fullmatch("(a+)+b", page)  # takes years for the trap
    return re.findall("href='([^']*)'", page)


from earlyfork.template import TEMPLATE  # workers have the function above

from earlyfork import aio
from earlyfork.rpc import CallTimeout, WorkerDied


async def fetch(port: int, path: str) -> str:
    """One page. A crawler of the world would use a library here."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {path} HTTP/1.0\r\n\r\n".encode())
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer.decode().partition("\r\n\r\n")[2]


async def crawl(port: int) -> dict[str, str]:
    """Each page that can be reached, with what came of it."""
    found: dict[str, str] = {}
    async with aio.Pool(TEMPLATE, max_workers=2) as pool:
        reading = pool.options(timeout=0.5)

        async def visit(path: str) -> None:
            found[path] = "?"
            page = await fetch(port, path)
            try:
                targets = await reading.call(links, page)
            except CallTimeout:
                found[path] = "given up"
            except WorkerDied as death:
                found[path] = f"ended its reader, {death.returncode}"
            else:
                found[path] = f"{len(targets)} links"
                await asyncio.gather(*(visit(one) for one in targets if one not in found))

        await visit("/")
    return found


class Site(BaseHTTPRequestHandler):
    """What is crawled."""

    def do_GET(self) -> None:
        body = SITE[self.path].encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def main() -> None:
    assert earlyfork
    with ThreadingHTTPServer(("127.0.0.1", 0), Site) as server:
        threading.Thread(target=server.serve_forever).start()
        for path, what in sorted(asyncio.run(crawl(server.server_port)).items()):
            print(f"{path}: {what}")
        server.shutdown()


if __name__ == "__main__":
    main()
