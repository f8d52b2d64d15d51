"""What the first line of a program costs that says `import earlyfork`, in a fresh process."""

# ruff: noqa: E402 (the order of imports is the point)
from time import perf_counter

start = perf_counter()
import earlyfork

end = perf_counter()

import sys

modules = len(sys.modules)

import json

early = earlyfork._forked is not None
print(json.dumps({"import": [end - start], "modules": modules, "early": early}))
