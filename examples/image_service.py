"""A pre-forking image service: POST an image, get a thumbnail.

Pillow is loaded once, before the template is forked off this program. A pool keeps workers ready;
images are decoded there, each in at most two seconds and 1 GB. An image that takes longer, or that
ends its worker, is refused, and nobody else notices.

    python image_service.py
    curl --data-binary @photo.jpg http://127.0.0.1:PORT/?size=200 > small.png
"""

import earlyfork

import io
import resource
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from PIL import Image

Image.init()  # all formats, now


def limit() -> None:
    """First in each worker: a bomb of an image ends there."""
    resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))


def thumbnail(data: bytes, size: int) -> bytes:
    with Image.open(io.BytesIO(data)) as image:
        image.thumbnail((size, size))
        found = io.BytesIO()
        image.convert("RGB").save(found, "PNG")
    return found.getvalue()


from earlyfork.template import TEMPLATE  # what stands above is in each worker


class Service(BaseHTTPRequestHandler):
    """Hands images to the pool."""

    #: Of the pool, with a time limit.
    jobs: Any = None

    def do_POST(self) -> None:
        from earlyfork.rpc import CallTimeout, WorkerDied

        try:
            data = self.rfile.read(int(self.headers["Content-Length"]))
            size = int(parse_qs(urlsplit(self.path).query).get("size", ["128"])[0])
            status, body = 200, self.jobs.submit(thumbnail, data, size).result()
        except (CallTimeout, WorkerDied) as error:
            status, body = 422, f"this image is too much: {error}\n".encode()
        except (Image.DecompressionBombError, MemoryError, OSError, ValueError) as error:
            status, body = 415, f"no image: {error}\n".encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def main() -> None:
    from earlyfork.pool import Pool

    assert earlyfork
    with Pool(TEMPLATE, min_idle=1, max_tasks=1000, init=limit) as pool:
        pool.warm()
        Service.jobs = pool.options(timeout=2.0)
        with ThreadingHTTPServer(("127.0.0.1", 0), Service) as server:
            print(f"http://127.0.0.1:{server.server_port}/", flush=True)
            try:
                server.serve_forever()
            except KeyboardInterrupt:
                print(f"{pool.stats().done} images")


if __name__ == "__main__":
    main()
