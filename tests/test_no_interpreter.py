"""SEMANTICS, "Interpreter": where none can be launched, the error says what was tried, and why not."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

import support

if TYPE_CHECKING:
    from support import Run


def refused(run_program: Run, *words: str) -> str:
    """The error of a host that finds nothing to launch."""
    done = run_program("no_interpreter/is_refused.py", *words, env={"EARLYFORK": "0"})
    first, second, told, *_ = done.stdout.splitlines()
    assert first == second
    assert int(told) <= 1
    return first


@pytest.mark.parametrize(
    ("executable", "verdict"),
    [
        ("", "'': sys.executable: it is empty"),
        ("None", "'': sys.executable: it is empty"),
        ("python3", "python3: sys.executable: it is not absolute"),
        ("HERE/bin/none", "HERE/bin/none: sys.executable: no such executable file"),
        (
            "HERE/build/fish",
            (
                "HERE/build/fish: sys.executable: it is not the Python that runs this process, "
                "but a program that embeds it"
            ),
        ),
    ],
)
def test_all_that_was_tried_is_named_with_the_reason(
    run_program: Run, executable: str, verdict: str
) -> None:
    said = refused(run_program, executable)
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


def test_what_it_says_to_do_next_helps(run_program: Run) -> None:
    refused(run_program, "", sys.executable)


def test_a_program_that_bears_another_name_is_passed_over(run_script: Run) -> None:
    """Found where an interpreter should be, it may be anything: it is named and not launched."""
    done = run_script(
        """
        import earlyfork
        import sys
        from programs.no_interpreter.host import HERE, pretend
        pretend("")
        sys._base_executable = HERE + "/build/fish"
        try:
            earlyfork.new()
        except earlyfork.LaunchError as error:
            print(error)
        """,
        check=True,
        env=support.with_work(EARLYFORK="0"),
    )
    assert "build/fish: sys._base_executable: its name is not a Python's" in done.stdout
