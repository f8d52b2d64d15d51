"""The start method's name: registered by the import, known in all children, no default by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import support

if TYPE_CHECKING:
    from mp.shared import Say

    from support import Run


def test_import_leaves_the_default_start_method_open(run: Say) -> None:
    out = run(
        "",
        """\
assert mp.get_start_method(allow_none=True) is None
mp.set_start_method("earlyfork")
assert mp.get_start_method() == "earlyfork"
assert mp.get_context().get_start_method() == "earlyfork"
assert earlyfork.mp.get_context() is mp.get_context("earlyfork")
print(mp.get_context("earlyfork").Process.__name__)
""",
    )
    assert out == "EarlyForkProcess\n"


@pytest.mark.parametrize("other", ["spawn", "forkserver"])
def test_other_methods_work_beside_it(run: Say, other: str) -> None:
    """Their children look up the default's name before they have our sys.path."""
    out = run(
        """\
def show(q):
    q.put((mp.get_start_method(), type(mp.current_process()).__name__))
""",
        f"""\
mp.set_start_method("earlyfork")
for method in ("{other}", "earlyfork", "{other}"):
    c = mp.get_context(method)
    q = c.SimpleQueue()
    p = c.Process(target=show, args=(q,))
    p.start()
    print(*q.get())
    p.join()
    assert p.exitcode == 0
""",
    )
    stock = {"spawn": "spawn SpawnProcess", "forkserver": "forkserver ForkServerProcess"}[other]
    assert out.splitlines() == [stock, "earlyfork EarlyForkProcess", stock]


def test_a_spawned_child_finds_the_method_without_our_path(run_program: Run) -> None:
    """The package may lie where only the parent's sys.path leads."""
    home = str(support.home_of_earlyfork())
    env = {"PYTHONPATH": None}
    done = run_program("mp/path_of_its_own.py", home, flags=("-S",), env=env)
    assert support.output_of(done) == "spawn\n"


def test_the_name_travels_as_plain_text_otherwise(run: Say) -> None:
    out = run("", "import pickle\nprint(type(pickle.loads(pickle.dumps(ctx.get_start_method()))))")
    assert out == "<class 'str'>\n"


def test_all_names_work_in_a_worker(run_file: Say) -> None:
    assert run_file("default_in_a_worker.py") == "[2, 4] [6] earlyfork\n"


def test_the_context_itself_can_be_handed_on(run: Say) -> None:
    """It is the registered one there; a context with a template of its own stays here."""
    out = run(
        """\
def tell(context, other, q):
    q.put((context is mp.get_context("earlyfork"), type(other).__name__, other.name))
""",
        """\
own = earlyfork.mp.get_context(template=earlyfork.new())
q = ctx.SimpleQueue()
print(hasattr(ctx.Process(), "_sentinel"))
class Named(own.Process):
    pass
p = own.Process(target=tell, args=(ctx, own.Process(name="other"), q))
p.start()
print(*q.get())
p.join()
""",
    )
    assert out == "False\nTrue EarlyForkProcess other\n"
