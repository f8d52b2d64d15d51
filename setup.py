"""The optional part in C; all else stands in pyproject.toml, which can't say `optional` yet.

Where it can't be built (no compiler) the package works without it, more slowly. Where there is none
(another system, PyPy, an interpreter without a GIL), nothing is compiled, and the wheel is one for
any machine. EARLYFORK_PURE=1 asks for that wheel.
"""

import os
import sys
import sysconfig

from setuptools import Extension, setup

# Named one by one, and not found by a pattern: a unit that is missing then stops the compiler. A
# library without it would be linked and imported all the same, and fail at its first call.
# Each is compiled by itself: as one text, or with -flto, they touch as many pages after a fork.
UNITS = [
    "src/quick/system.c",
    "src/quick/objects.c",
    "src/quick/surroundings.c",
    "src/quick/loop_state.c",
    "src/quick/ending.c",
    "src/quick/rights.c",
    "src/quick/values.c",
    "src/quick/command.c",
    "src/quick/orders.c",
    "src/quick/child.c",
    "src/quick/hearing.c",
    "src/quick/children.c",
    "src/quick/forker.c",
    "src/quick/first_line.c",
    "src/quick/own.c",
    "src/quick/owner.c",
    "src/quick/huge.c",
    "src/quick/module.c",
]


#: `lacks_c` in src/earlyfork/_ground/platform.py says the same of an interpreter that runs.
HAS_C = (
    sys.implementation.name == "cpython"
    and sys.platform == "linux"
    and not sysconfig.get_config_var("Py_GIL_DISABLED")
    and not os.environ.get("EARLYFORK_PURE")
)

setup(
    ext_modules=[
        Extension(
            "earlyfork._quick",
            UNITS,
            depends=["src/quick/quick.h"],
            define_macros=[("_GNU_SOURCE", "1")],
            extra_compile_args=["-fvisibility=hidden"],
            optional=True,
        )
    ]
    if HAS_C
    else []
)
