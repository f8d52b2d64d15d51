"""Short runs of the fuzzers, and sessions of commands against a model.

FUZZ_UP="--seed 7 --bursts 30" in the environment repeats a run of workers that say anything.
"""

from __future__ import annotations

import gc
import importlib.util
import os
import sys
from pathlib import Path

import hypothesis
import hypothesis.strategies as st
import pytest
import work
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

import earlyfork
import support

FUZZ = Path(__file__).parent / "fuzz" / "fuzz_wire.py"
UP = Path(__file__).parent / "programs" / "fuzz" / "fuzz_up.py"


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("atheris") is None,
    reason="atheris is not installed; `make fuzz` installs it where it can be had",
)
def test_the_decoder_under_a_coverage_guided_fuzzer(tmp_path: Path) -> None:
    command = [sys.executable, FUZZ, tmp_path / "corpus", "-runs=40000", "-max_len=2048"]
    done = support.run_command(command, directory=tmp_path, timeout=50)
    assert done.returncode == 0, done.stderr[-3000:]


class Session(RuleBasedStateMachine):
    """Any order of commands: each process ends up with just what its model says."""

    processes = Bundle("processes")

    def __init__(self) -> None:
        super().__init__()
        self.models: dict[int, tuple[earlyfork.Process, list[object], int]] = {}
        self.parents: dict[int, int] = {}
        self.count = 0

    def note(self, process: earlyfork.Process, values: list[object], total: int) -> int:
        self.count += 1
        self.models[self.count] = process, values, total
        return self.count

    @rule(target=processes)
    def new(self) -> int:
        hypothesis.assume(len(self.models) < 6)
        return self.note(earlyfork.new().require("work").eval("total = 0"), [], 0)

    @rule(target=processes, which=processes)
    def fork(self, which: int) -> int:
        hypothesis.assume(which in self.models and len(self.models) < 6)
        process, values, total = self.models[which]
        clone = self.note(process.fork(), list(values), total)
        self.parents[clone] = which
        return clone

    @rule(which=processes, value=st.one_of(st.binary(), st.text(), st.integers(), st.none()))
    def send(self, which: int, value: object) -> None:
        if which in self.models:
            process, values, _ = self.models[which]
            process.send_arg(value)
            values.append(value)

    @rule(which=processes)
    def send_much(self, which: int) -> None:
        self.send(which, b"x" * 100_000)

    @rule(which=processes, number=st.integers(-100, 100))
    def add(self, which: int, number: int) -> None:
        if which in self.models:
            process, values, total = self.models[which]
            process.eval("total += args[0]", number)
            self.models[which] = process, values, total + number

    @rule(which=processes)
    def is_ready(self, which: int) -> None:
        if which in self.models:
            self.models[which][0].ready(20)

    @rule(which=processes)
    def hand_over(self, which: int) -> None:
        if which in self.models:
            process, values, total = self.models[which]
            self.models[which] = earlyfork.new_from_fh(process.to_fh()), values, total

    @rule(which=processes)
    def run(self, which: int) -> None:
        if which in self.models:
            process, values, total = self.models.pop(which)
            process.eval("import earlyfork._child.here as h; h.here.pending.append(total)")
            with process:
                assert work.got(process.run("work.echo")) == (*values, total)
                assert process.wait(20) == 0
                with pytest.raises(earlyfork.ProcessStateError):
                    process.send_arg(1)

    @rule(which=processes)
    def fail(self, which: int) -> None:
        if which in self.models:
            process, *_ = self.models.pop(which)
            with process, pytest.raises(earlyfork.RemoteError, match="on purpose"):
                process.eval("import sys; sys.stderr = None; raise LookupError('on purpose')")
                process.ready(20)

    @rule(which=processes)
    def kill(self, which: int) -> None:
        if which in self.models:
            process, *_ = self.models.pop(which)
            for other, (living, *_) in self.models.items():
                if self.parents.get(other) != which:
                    living.pid  # noqa: B018  # it exists, so whoever it is a clone of does, too
            with process:
                process.kill()
                assert process.wait(20) == -9
            self.lose_clones_of(which)

    def lose_clones_of(self, parent: int) -> None:
        """Nobody knows how those end that only the killed process could reap, or made in time.

        Their own clones live on and are known, since whoever forked these lives, owned or not.
        """
        for clone in [clone for clone, forker in self.parents.items() if forker == parent]:
            if clone in self.models:
                process, *_ = self.models.pop(clone)
                with process, pytest.raises((earlyfork.ProcessLost, earlyfork.TemplateDied)):
                    process.wait(20)

    @rule(which=processes)
    def drop(self, which: int) -> None:
        self.models.pop(which, None)

    @invariant()
    def all_that_are_in_the_model_live(self) -> None:
        for process, *_ in self.models.values():
            assert process.poll() is None

    def teardown(self) -> None:
        self.models.clear()
        gc.collect()


# Real processes: few examples, and a slow one is no failure.
TestSession = Session.TestCase
TestSession.settings = hypothesis.settings(
    max_examples=25,
    stateful_step_count=20,
    deadline=None,
    suppress_health_check=list(hypothesis.HealthCheck),
)
TestSession.pytestmark = [pytest.mark.slow]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("pure", ["", "1"])
def test_workers_that_say_anything(pure: str, tmp_path: Path) -> None:
    command = [sys.executable, UP, "--seconds", "4", *os.environ.get("FUZZ_UP", "").split()]
    done = support.run_command(
        command, directory=tmp_path, env={"EARLYFORK_PURE": pure}, timeout=55
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
