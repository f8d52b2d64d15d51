"""Workers without rights that say anything to their forker, in all states: nobody else notices.

    python tests/programs/fuzz/fuzz_up.py [--seed N] [--bursts N] [--seconds S] [--state STATE]

After each burst the template forks, all others end as they should, and nothing is left. What fails
is repeated with the seed and the burst that were printed last.
"""

import earlyfork
import argparse
import contextlib
import os
import random
import signal
import sys
import time
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import support
import work
from earlyfork._child.children import FDS_PER_CHILD

LIAR = (Path(__file__).parent / "liar.py").read_text()
ACTS = 20
CONFINEMENTS = ("nobody", "no new privileges", "not at all")
#: Two are kept forked ahead; who asks just then gets one more.
MOST = 4
PATIENCE = 10
#: What the owner of a process is told that has broken its own status socket, or said nonsense there.
LIED = (earlyfork.ProcessLost, earlyfork.TemplateDied, earlyfork.ProtocolError)


def until(predicate):
    """Wait, and say what there is if that was in vain."""
    try:
        support.wait_until(predicate, PATIENCE)
    except AssertionError:
        for pid in support.session(os.getsid(0)):
            parent = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]
            print(fds(pid), parent, support.describe(pid), support.open_fds(pid), flush=True)
        raise


def fds(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


class Forker:
    """What the liars lie to."""

    def __init__(self, make, pid):
        self.make = make
        self.pid = pid

    def settle(self, known):
        """Note what it holds of its own."""
        self.known = known
        for _ in range(2):
            self.check()
        self.before = float("inf")
        until(self.is_settled)
        self.before = self.held()

    def held(self):
        """How many files it has, without those for each child."""
        return fds(self.pid) - FDS_PER_CHILD * len(support.children(self.pid))

    def is_settled(self):
        """Whether all that it has are some standbys, and no more files than before."""
        names = [support.comm(pid) for pid in {*support.children(self.pid)} - self.known]
        return {*names} <= {"ef-standby"} and len(names) <= MOST and self.held() <= self.before

    def check(self):
        """It forks, its workers answer and end as they should."""
        process = self.make().send_arg("echo")
        assert work.got(process.run(work.echo)) == ("echo",)
        assert process.wait(PATIENCE) == 0
        process = self.make().send_arg(77)
        with process.run(work.os_exit):
            assert process.wait(PATIENCE) == 77


class Bystander:
    """A worker that was there before: it ends as it is told to."""

    def __init__(self, forker, rng):
        self.code = rng.choice((0, 1, 99, 255, -signal.SIGKILL, -signal.SIGSEGV))
        self.process = forker.make().eval(
            "def stays(sock, code):\n"
            "    import os\n"
            "    sock.sendall(b'!')\n"
            "    sock.recv(1)\n"
            "    os.kill(os.getpid(), -code) if code < 0 else os._exit(code)\n"
        )
        self.sock = self.process.send_arg(self.code).run("stays")
        assert self.sock.recv(1) == b"!"

    def end(self):
        assert self.process.poll() is None
        self.sock.close()
        assert self.process.wait(PATIENCE) == self.code


def liar(forker, rng, how):
    return forker.make().eval(LIAR).call("__main__.confine", how)


def ends(process):
    """The liar ends, in whatever way: it may have given its status away, or lied about itself."""
    try:
        process.wait(PATIENCE)
    except LIED:
        return
    except TimeoutError:  # it waits for itself, but is not dead without anybody's knowledge
        print("still there:", support.describe(process.pid), flush=True)
        assert support.alive(process.pid)
        with contextlib.suppress(LIED):
            process.kill()
            process.wait(PATIENCE)
    finally:
        process.close()


def runs(process, rng, target="lies", **how):
    code = rng.choice((0, 33, -signal.SIGKILL))
    try:
        sock = process.send_arg(rng.random(), ACTS, code).run(target, **how)
    except earlyfork.TemplateDied:  # it has ended itself, in the middle of being prepared
        return process.close
    return lambda: (ends(process), sock.close())


# -- the states, each of which returns what ends it ---------------------------------------------


def before_run(forker, rng, how):
    process = liar(forker, rng, how).call("__main__.lie", rng.random(), ACTS)
    return runs(process, rng)


def adopted(forker, rng, how):
    process = earlyfork.new_from_fh(liar(forker, rng, how).to_fh())
    return runs(process.call("__main__.lie", rng.random(), ACTS), rng)


def meanwhile(forker, rng, how):
    """While it is prepared, handed over, taken up, and run."""
    process = liar(forker, rng, how).call("__main__.lie_meanwhile", rng.random(), 4 * ACTS)
    fh = process.to_fh()
    forker.check()
    return runs(earlyfork.new_from_fh(fh), rng)


def handed_over_and_dropped(forker, rng, how):
    process = liar(forker, rng, how).call("__main__.lie_meanwhile", rng.random(), 4 * ACTS)
    fh = process.to_fh()
    return fh.close


def running(forker, rng, how):
    return runs(liar(forker, rng, how), rng)


def linked(forker, rng, how):
    return runs(liar(forker, rng, how), rng, linked=True)


def alone(forker, rng, how):
    return runs(liar(forker, rng, how), rng, "lies_alone", alone=True, linked=rng.random() < 0.5)


def standbys(forker, rng, how):
    """All that is forked ahead lies before it waits."""
    template = liar(forker, rng, how)
    template.eval(f"earlyfork._child.here.rehearse(lambda: lie(os.getpid(), {ACTS}))")
    processes = [template.fork() for _ in range(6)]
    ending = [runs(process, rng) for process in processes]
    return lambda: ([end() for end in ending], template.kill(), template.close())


def templates(forker, rng, how):
    """A liar that is a template itself, and what is forked off it."""
    template = liar(forker, rng, how).call("__main__.lie", rng.random(), ACTS)
    ending = [runs(template.fork(), rng) for _ in range(4)]
    return lambda: ([end() for end in ending], template.kill(), template.close())


STATES = [
    *(before_run, adopted, meanwhile, handed_over_and_dropped, running, linked, alone),
    *(standbys, templates),
]


def burst(victims, forker, rng, state, how):
    bystanders = [Bystander(forker, rng) for _ in range(2)]
    ending = [state(forker, rng, how) for _ in range(2)]
    forker.check()
    bystanders.pop().end()
    for end in ending:
        end()
    forker.check()
    bystanders.pop().end()
    end_all(victims)
    until(forker.is_settled)


def left(victims):
    """What lives of the liars: all others have been waited for."""
    return support.left_in_session({victim.pid for victim in victims})


def end_all(victims):
    """Who took its own messages away may wait for them for ever: that is no concern of the others'."""
    try:
        support.wait_until(lambda: not left(victims), PATIENCE / 4)
    except AssertionError:
        for pid in left(victims):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        until(lambda: not left(victims))


def forkers():
    """The default template, one that was prepared, and one that is crowded soon."""
    earlyfork.new().ready(PATIENCE).close()
    found = [Forker(earlyfork.new, earlyfork.status().templates[0].pid)]
    for code in (
        "",
        "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (64, 4096))",
    ):
        template = earlyfork.new().eval(code)
        found.append(Forker(template.fork, template.ready(PATIENCE).pid))
        found[-1].template = template
    for forker in found:
        forker.settle({forker.pid for forker in found})
    return found


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--seed", type=int, default=int(time.time()))
    options.add_argument("--bursts", type=int, default=10**9)
    options.add_argument("--first", type=int, default=0, help="the burst to begin with")
    options.add_argument("--seconds", type=float, default=float("inf"))
    options.add_argument("--state", choices=[state.__name__ for state in STATES])
    given = options.parse_args()
    warnings.simplefilter("error")
    victims = forkers()
    hows = CONFINEMENTS[os.geteuid() != 0 :]
    last = time.monotonic() + given.seconds
    done = 0
    for number in range(given.first, given.first + given.bursts):
        rng = random.Random(f"{given.seed}.{number}")
        state = rng.choice([s for s in STATES if given.state in (None, s.__name__)])
        which, how = rng.randrange(len(victims)), rng.choice(hows)
        print(f"seed {given.seed} burst {number}: {state.__name__}, {how}, {which}", flush=True)
        burst(victims, victims[which], rng, state, how)
        done += 1
        if time.monotonic() > last:
            break
    assert earlyfork.status().templates[0].pid == victims[0].pid
    print(f"{done} bursts, nothing found")


main()
