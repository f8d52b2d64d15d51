"""A service that makes thumbnails of images, as numpy arrays that are not copied into pickles.

The workers are forked from a template that has numpy loaded. The arrays travel beside the pickles,
and arrive in writable memory.

    python thumbnails.py
"""

import earlyfork

import os

from earlyfork import rpc

# env= acts before anything is imported there; one thread each is enough for such small things.
template = earlyfork.new(env={**os.environ, "OPENBLAS_NUM_THREADS": "1"}).eval("""
import numpy
import earlyfork.rpc

def thumbnail(image, factor):
    height, width = image.shape[0] // factor, image.shape[1] // factor
    blocks = image[: height * factor, : width * factor].reshape(height, factor, width, factor, -1)
    return blocks.mean(axis=(1, 3)).astype(numpy.uint8)
""")


def main() -> None:
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    import numpy as np

    workers = [rpc.Client(template.fork()) for _ in range(2)]
    images = [np.full((480, 640, 3), shade, dtype=np.uint8) for shade in (10, 100, 200)]
    calls = [
        workers[number % 2].submit("thumbnail", image, 8) for number, image in enumerate(images)
    ]
    for call in calls:
        small = call.result()
        small += 1  # it is ours
        print(small.shape, small[0, 0])
    for worker in workers:
        worker.close()
        worker.join()


if __name__ == "__main__":
    main()
