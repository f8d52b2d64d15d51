"""SEMANTICS, "Interpreter": where none can be launched, the error says what was tried, and why not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import support

if TYPE_CHECKING:
    from support import Run

#: A host that embeds Python, in a machine that has no other: all that could be asked is answered so.
HOST = """
import os, sys, sysconfig
os.environ["EARLYFORK"] = "0"
import earlyfork

here = os.getcwd()
name = f"python{sys.version_info[0]}.{sys.version_info[1]}"
os.mkdir("bin")
os.mkdir("build")
for path in (f"bin/{name}", "build/fish"):
    with open(path, "w") as file:
        file.write("#!/bin/sh\\n")  # not executable
os.chmod("build/fish", 0o755)
sys.executable = EXECUTABLE
sys.prefix = sys.base_prefix = sys.exec_prefix = sys.base_exec_prefix = here
sys._base_executable = "bin/relative"
sys.orig_argv = []
sysconfig.get_config_vars()["BINDIR"] = here + "/gone"
os.environ["PATH"] = here + "/bin"
"""


def refused(run_script: Run, executable: str, rest: str = "") -> str:
    done = run_script(
        HOST.replace("EXECUTABLE", executable)
        + """
before = len(os.listdir("/proc/self/fd"))
for ask in (earlyfork.new, earlyfork.new_exec):
    try:
        ask()
    except earlyfork.LaunchError as error:
        print(str(error).replace(here, "HERE").replace(name, "pythonX.Y"))
    else:
        raise AssertionError("something was launched")
assert len(os.listdir("/proc/self/fd")) == before
print(str(earlyfork.status()).count("no interpreter"))
"""
        + rest,
        check=True,
        env={"PYTHONPATH": support.python_path()},
    )
    first, second, told, *_ = done.stdout.splitlines()
    assert first == second
    assert int(told) <= 1
    return first


@pytest.mark.parametrize(
    ("executable", "verdict"),
    [
        ("''", "'': sys.executable: it is empty"),
        ("None", "'': sys.executable: it is empty"),
        ("'python3'", "python3: sys.executable: it is not absolute"),
        ("here + '/bin/none'", "HERE/bin/none: sys.executable: no such executable file"),
        (
            "here + '/build/fish'",
            (
                "HERE/build/fish: sys.executable: it is not the Python that runs this process, "
                "but a program that embeds it"
            ),
        ),
    ],
)
def test_all_that_was_tried_is_named_with_the_reason(
    run_script: Run, executable: str, verdict: str
) -> None:
    said = refused(run_script, executable)
    head, *tried = said.removeprefix("no interpreter: ").split("; ")
    assert said.startswith("no interpreter: ")
    assert head == verdict
    assert tried == [
        "bin/relative: sys._base_executable: it is not absolute",
        "HERE/bin/pythonX.Y: the base installation's interpreter: no such executable file",
        "HERE/bin/python3: the base installation's interpreter: no such executable file",
        "HERE/gone/pythonX.Y: the build configuration's interpreter: no such executable file",
        "'': pythonX.Y on PATH: it is empty",
        "set EARLYFORK_PYTHON or call earlyfork.set_executable()",
    ]


def test_what_it_says_to_do_next_helps(run_script: Run) -> None:
    refused(
        run_script,
        "''",
        f"""
import work
earlyfork.set_executable({__import__("sys").executable!r})
process = earlyfork.new().send_arg("works")
assert work.got(process.run(work.echo)) == ("works",)
assert process.wait(10) == 0
""",
    )


def test_a_program_that_bears_another_name_is_passed_over(run_script: Run) -> None:
    """Found where an interpreter should be, it may be anything: it is named and not launched."""
    done = run_script(
        HOST.replace("EXECUTABLE", "''")
        + """
sys._base_executable = here + "/build/fish"
try:
    earlyfork.new()
except earlyfork.LaunchError as error:
    print(error)
""",
        check=True,
    )
    assert "build/fish: sys._base_executable: its name is not a Python's" in done.stdout
