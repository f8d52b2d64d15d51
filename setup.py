"""The optional part in C; all else stands in pyproject.toml, which can't say `optional` yet.

Where it can't be built (no compiler, another system) the package works without it, more slowly.
"""

from setuptools import Extension, setup

setup(
    ext_modules=[
        Extension(
            "earlyfork._quick",
            ["src/earlyfork/_quick.c"],
            define_macros=[("_GNU_SOURCE", "1")],
            extra_compile_args=["-fvisibility=hidden"],
            optional=True,
        )
    ]
)
