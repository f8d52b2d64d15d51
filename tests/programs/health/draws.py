"""Sent to the siblings of siblings_draw.py: draws from each generator."""

import os
import random
import secrets
import tempfile
import uuid

import numpy as np


def draw(sock):
    import work

    work.give(
        sock,
        {
            "random": random.random(),
            "SystemRandom": random.SystemRandom().random(),
            "secrets": secrets.token_hex(),
            "uuid4": str(uuid.uuid4()),
            "uuid1": str(uuid.uuid1()),
            "urandom": os.urandom(8),
            "tempfile": next(tempfile._get_candidate_names()),
            "numpy, legacy": np.random.random(),  # noqa: NPY002 - what is asked for
            "numpy, default_rng made there": np.random.default_rng().random(),
        },
    )
