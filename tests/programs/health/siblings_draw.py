"""Processes of two templates draw from all generators there are."""

import earlyfork
import numpy as np
import random
import support
import warnings
import work

warnings.simplefilter("ignore")
np.random.seed(1)  # noqa: NPY002 - what siblings would share
random.seed(1)
from earlyfork.template import TEMPLATE

CODE = support.program("health/draws.py")
prepared = earlyfork.new().eval(CODE)
kept = [TEMPLATE.fork().eval(CODE) for _ in range(4)]
processes = [prepared.fork() for _ in range(4)] + kept
seen = [work.got(process.run("draw")) for process in processes]
for name in seen[0]:
    values = [each[name] for each in seen]
    assert len(set(values)) == len(values), (name, values)
