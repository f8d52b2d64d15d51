"""SEMANTICS, "Interpreter": which one is launched, how like its caller it is, and why not."""

from __future__ import annotations

import errno
import os
import re
import shutil
import sys
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import support
from support import ORIGINS, output_of, run_command

if TYPE_CHECKING:
    from support import Run


def ask(command: list[str | Path], folder: Path, **env: str | None) -> list[str]:
    """What probe.py prints: the choice, sys.executable there, whether that is the same binary."""
    env = support.with_work(EARLYFORK="0", **env)
    return output_of(run_command(command, directory=folder, env=env, timeout=30)).splitlines()


@pytest.fixture
def program(tmp_path: Path) -> Path:
    return support.write_script(support.program("interpreter/probe.py"), tmp_path)


def test_the_interpreter_of_a_script(program: Path, tmp_path: Path) -> None:
    choice, there, same = ask([sys.executable, program], tmp_path)
    assert choice == f"{sys.executable} (sys.executable)"
    assert there == sys.executable
    assert same == "True"


def test_a_venv_is_kept(program: Path, tmp_path: Path) -> None:
    run_command(
        [sys.executable, "-m", "venv", "--without-pip", "--symlinks", tmp_path / "venv"], check=True
    )
    python = tmp_path / "venv" / "bin" / "python"
    choice, there, same = ask([python, program], tmp_path)
    assert choice == f"{python} (sys.executable)"
    assert there == str(python)
    assert same == "True"


def test_a_symlink_with_another_name(program: Path, tmp_path: Path) -> None:
    """A binary that no longer looks like a Python, but is the one that runs."""
    link = tmp_path / "my-tool"
    link.symlink_to(os.path.realpath(sys.executable))
    choice, there, same = ask([link, program], tmp_path, PYTHONHOME=sys.base_prefix)
    assert choice == f"{link} (sys.executable)"
    assert there == str(link)
    assert same == "True"


def test_a_renamed_copy(program: Path, tmp_path: Path) -> None:
    copy = tmp_path / "renamed"
    shutil.copy2(os.path.realpath(sys.executable), copy)
    home = {"PYTHONHOME": sys.base_prefix, "LD_LIBRARY_PATH": sysconfig.get_config_var("LIBDIR")}
    choice, there, same = ask([copy, program], tmp_path, **home)
    assert choice == f"{copy} (sys.executable)"
    assert there == str(copy)
    assert same == "True"


@pytest.mark.parametrize("name", ["foo", "python3", "python", "/nowhere/python3", "-python", ""])
def test_another_argv0(program: Path, tmp_path: Path, name: str) -> None:
    """`exec -a`: sys.executable is empty, or another Python of this machine, or nothing at all."""
    choice, there, same = ask(
        ["bash", "-c", 'exec -a "$0" "$@"', name, sys.executable, program], tmp_path
    )
    # Whatever was found is a Python of this installation (probe.py compares the prefixes).
    assert same == "True", (choice, there)


def test_the_name_of_another_python(program: Path, tmp_path: Path) -> None:
    """sys.executable is a Python then, but not the one that runs."""
    others = [Path(f"/usr/bin/python3{tail}") for tail in ("", ".11", ".12", ".13")]
    found = [path for path in others if path.exists() and not path.samefile(sys.executable)]
    if not found:
        pytest.skip("no other Python in /usr/bin")
    command = ["bash", "-c", 'exec -a "$0" "$@"', found[0], os.path.realpath(sys.executable)]
    choice, there, same = ask([*command, program], tmp_path, PYTHONHOME=sys.base_prefix)
    assert same == "True", (choice, there)


def test_started_through_the_dynamic_loader(program: Path, tmp_path: Path) -> None:
    loaders = sorted(Path("/lib64").glob("ld-linux*")) + sorted(Path("/lib").glob("ld-linux*"))
    if not loaders:
        pytest.skip("no ld-linux here")
    python = os.path.realpath(sys.executable)
    choice, there, _ = ask([loaders[0], python, program], tmp_path, PYTHONHOME=sys.base_prefix)
    assert "python" in Path(choice.split(" (")[0]).name
    assert there


# -- told ----------------------------------------------------------------------------------------


def wrapper(folder: Path) -> Path:
    """An interpreter that leaves a note of being started."""
    path = folder / "python-wrapped"
    path.write_text(
        f'#!/bin/sh\necho started >> "{folder}/started"\nexec "{sys.executable}" "$@"\n'
    )
    path.chmod(0o755)
    return path


def test_told_by_the_environment(program: Path, tmp_path: Path) -> None:
    path = wrapper(tmp_path)
    choice, _, same = ask([sys.executable, program], tmp_path, EARLYFORK_PYTHON=str(path))
    assert choice == f"{path} (set_executable() or EARLYFORK_PYTHON)"
    assert (tmp_path / "started").read_text() == "started\n"
    assert same == "True"


def test_set_executable_and_back(run_program: Run, tmp_path: Path) -> None:
    run_program("interpreter/set_executable.py", str(wrapper(tmp_path)), env={"EARLYFORK": "0"})


def test_executable_of_one_call_beside_an_early_template(run_script: Run, tmp_path: Path) -> None:
    run_script(
        """
        import earlyfork
        import sys, work, os
        process = earlyfork.new_exec(executable=sys.argv[1]).ready(10)
        assert open("started").read() == "started\\n"
        assert work.got(process.run(work.pid)) == process.pid
        earlyfork.new_exec().ready(10)  # forks the early template
        assert open("started").read() == "started\\n"
        assert earlyfork.status().early
        """,
        str(wrapper(tmp_path)),
        check=True,
        env={"PYTHONPATH": support.python_path()},
    )


def test_bad_paths_are_refused_at_the_call(run_program: Run) -> None:
    run_program("interpreter/bad_paths.py", env={"EARLYFORK": "0"})


def test_a_bad_path_in_the_environment_is_told(run_script: Run) -> None:
    done = run_script(
        """
        import earlyfork
        for _ in range(2):
            try:
                earlyfork.new()
            except (OSError, earlyfork.EarlyForkError) as error:
                print(error)
        """,
        env={"EARLYFORK_PYTHON": "/no/such/python", "EARLYFORK": "0"},
    )
    assert "Traceback" not in done.stderr, done.stderr
    assert done.stdout.count("/no/such/python") == 2, done.stdout


def refusal(number: int) -> str:
    """How an error of the kernel's is told."""
    return rf"{os.strerror(number)}.*errno {number}\b"


FAILING = {
    "missing": ("/no/such/python", refusal(errno.ENOENT)),
    "not executable": ("{folder}/plain", refusal(errno.EACCES)),
    "a directory": ("{folder}", refusal(errno.EACCES)),
    "no binary": ("{folder}/garbage", refusal(errno.ENOEXEC)),
    "a missing shebang": ("{folder}/shebang", refusal(errno.ENOENT)),
    "ends at once": ("/bin/false", "status 1"),
    "ends well": ("/bin/true", "is gone"),
    "exits with its own status": ("{folder}/exits", "status 7"),
    "is killed": ("{folder}/killed", "status -9"),
    "another language": ("/bin/cat", "status"),
}


@pytest.mark.parametrize("origin", ORIGINS)
@pytest.mark.parametrize("kind", FAILING)
def test_what_cannot_be_launched_is_told_with_its_path(
    run_program: Run, tmp_path: Path, kind: str, origin: str
) -> None:
    path, text = FAILING[kind]
    path = path.format(folder=tmp_path)
    for name, content, mode in (
        ("plain", "#!/bin/sh\n", 0o644),
        ("garbage", "\0\1\2", 0o755),
        ("shebang", "#!/no/such/interpreter\n", 0o755),
        ("exits", "#!/bin/sh\nexit 7\n", 0o755),
        ("killed", "#!/bin/sh\nkill -9 $$\n", 0o755),
    ):
        (tmp_path / name).write_text(content)
        (tmp_path / name).chmod(mode)
    done = run_program("interpreter/fails_to_launch.py", path, env=ORIGINS[origin])
    *errors, last = done.stdout.splitlines()
    assert last == "no zombies"
    assert len(errors) == 4
    for error in errors:
        assert path in error
        assert re.search(text, error), error


def test_what_never_answers_does_not_hang_a_call_with_a_timeout(
    run_script: Run, tmp_path: Path
) -> None:
    (tmp_path / "sleeps").write_text("#!/bin/sh\nread line\n")
    (tmp_path / "sleeps").chmod(0o755)
    done = run_script(
        """
        import earlyfork
        import os, subprocess, sys
        reader, writer = os.pipe()
        os.dup2(reader, 0)
        process = earlyfork.new_exec(executable=sys.argv[1])
        for ask in (lambda: process.ready(0.1), lambda: process.wait(0.1)):
            try:
                ask()
            except TimeoutError:
                print("not yet")
        process.close()
        """,
        str(tmp_path / "sleeps"),
        check=True,
    )
    assert done.stdout == "not yet\n" * 2


# -- equivalent ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "flags",
    [
        [],
        ["-O"],
        ["-OO"],
        ["-W", "error", "-W", "ignore::ResourceWarning"],
        ["-X", "utf8"],
        ["-X", "utf8=0"],
        ["-X", "dev"],
        ["-X", "faulthandler"],
        ["-X", "own_option=value"],
        ["-I"],
        ["-I", "-S"],
        ["-s", "-E"],
        ["-B"],
        ["-b"],
        ["-u"],
        ["-v"],
        ["-X", "int_max_str_digits=0"],
    ],
    ids=" ".join,
)
def test_flags_and_path_are_equal(tmp_path: Path, flags: list[str]) -> None:
    program = support.write_script(support.program("interpreter/equal.py"), tmp_path)
    command = [sys.executable, *flags, program, support.home_of_earlyfork()]
    done = run_command(command, directory=tmp_path, env={"EARLYFORK": "0"}, timeout=30)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout == "equal\n"


def test_variables_of_the_interpreter_are_obeyed_by_what_is_launched(run_script: Run) -> None:
    """PYTHON* that is read at the start takes effect there: it is a start."""
    run_script(
        """
        import os; os.environ["EARLYFORK"] = "0"
        import earlyfork, sys
        env = {**os.environ, "PYTHONHASHSEED": "0", "PYTHONOPTIMIZE": "2"}
        process = earlyfork.new_exec(executable=sys.executable, env=env)
        process.eval("import sys; sys.exit(sys.flags.optimize * 10 + sys.flags.hash_randomization)")
        assert process.wait(10) == 20
        """,
        check=True,
    )


def test_what_is_launched_for_one_process_makes_no_others(run_script: Run) -> None:
    run_script(
        """
        import os; os.environ["EARLYFORK"] = "0"
        import earlyfork, support
        hold = "import os\\ndef f(s): s.sendall(b'%d' % os.getppid()); s.recv(1)"
        process = earlyfork.new_exec().eval(hold)
        sock = process.run("f")
        forker = int(sock.recv(100))
        # By the time that a second interpreter has started, standbys would be there.
        earlyfork.new_exec().ready(10)
        assert support.children(forker) == [process.pid], support.children(forker)
        """,
        check=True,
        env={"PYTHONPATH": support.python_path()},
    )


def test_what_is_launched_needs_no_earlyfork_of_its_own(run_script: Run) -> None:
    """Another installation, without it: the child's half comes over the socket."""
    run_script(
        """
        import os; os.environ["EARLYFORK"] = "0"
        import earlyfork, sys
        sys.path[:] = [e for e in sys.path if not os.path.exists(os.path.join(e, "earlyfork"))]
        template = earlyfork.new_exec(executable=sys.executable)
        template.eval('''
        import importlib.util, sys
        assert importlib.util.find_spec("earlyfork") is None
        '''.strip().replace("\\n        ", "\\n"))
        template.send_arg("x").ready(10)
        clone = template.fork().eval("def f(sock, text): sock.sendall(text.encode())")
        assert clone.run("f").recv(10) == b"x"
        assert clone.wait(10) == 0
        """,
        check=True,
    )


def test_another_version_is_launched_and_launches_others(
    run_program: Run, other_pythons: dict[tuple[int, int], str]
) -> None:
    """Each compiles the text for itself, and hands on what it compiled."""
    env = {"EARLYFORK": "0", "PYTHONPATH": None}
    done = run_program("interpreter/other_versions.py", *other_pythons.values(), env=env)
    here = "{}.{}".format(*sys.version_info)
    assert done.stdout.splitlines() == [f"{a}.{b} {a}.{b} {here}" for a, b in other_pythons]


def test_another_version_without_zlib_is_launched(
    run_script: Run, tmp_path: Path, other_pythons: dict[tuple[int, int], str]
) -> None:
    """The text travels as it is then."""
    (tmp_path / "without").mkdir()
    (tmp_path / "without" / "zlib.py").write_text("raise ImportError('none here')")
    run_script(
        """
        import os; os.environ["EARLYFORK"] = "0"
        import sys; sys.modules["zlib"] = None
        import earlyfork
        env = {**os.environ, "PYTHONPATH": sys.argv[2]}
        earlyfork.new_exec(executable=sys.argv[1], env=env).ready(10)
        """,
        next(iter(other_pythons.values())),
        str(tmp_path / "without"),
        check=True,
    )


def test_what_is_launched_by_a_host_that_stops_there_ends_quietly(run_script: Run) -> None:
    done = run_script(
        """
        import os; os.environ["EARLYFORK"] = "0"
        import earlyfork
        from earlyfork._origin import child_text as _launch
        def stop(*_, **__):
            raise KeyboardInterrupt
        _launch.modules = stop
        try:
            earlyfork.new_exec()
        except KeyboardInterrupt:
            print("stopped")
        """,
        check=True,
    )
    assert output_of(done) == "stopped\n"


def test_its_files_may_change_while_the_program_runs(run_script: Run, tmp_path: Path) -> None:
    """An upgrade under a running program: what is launched speaks the program's protocol."""
    copy = tmp_path / "copy" / "earlyfork"
    shutil.copytree(support.home_of_earlyfork() / "earlyfork", copy)
    run_script(
        """
        import os, sys; os.environ["EARLYFORK"] = "0"
        sys.path.insert(0, sys.argv[1])
        import earlyfork
        earlyfork.new().ready(10)
        for name in os.listdir(sys.argv[1] + "/earlyfork"):
            if name.endswith(".py"):
                with open(f"{sys.argv[1]}/earlyfork/{name}", "w") as file:
                    file.write("raise SystemExit('another release')")
        assert earlyfork.__file__.startswith(sys.argv[1])
        process = earlyfork.new_exec().eval("def f(sock): sock.sendall(b'works')").ready(10)
        assert process.run("f").recv(10) == b"works"
        assert process.wait(10) == 0
        """,
        str(copy.parent),
        check=True,
    )


def test_nothing_is_left_of_what_was_launched_once_it_serves(run_program: Run) -> None:
    """`new_exec` makes a direct child for a moment; nobody else's wait ever finds it later."""
    run_program("interpreter/no_children_left.py", env={"EARLYFORK": "0"})


# -- hosts that embed Python ---------------------------------------------------------------------

#: Programs in C, with what they set before Python begins.
HOSTS = {
    "Py_Initialize": ("simple_host.c", ""),
    "its own arguments": ("host.c", ""),
    "a program name": (
        "host.c",
        'PyConfig_SetBytesString(&config, &config.program_name, "my-app");',
    ),
    "the name of another Python": (
        "host.c",
        'PyConfig_SetBytesString(&config, &config.program_name, "python3");',
    ),
    "itself as executable": (
        "host.c",
        'PyConfig_SetBytesString(&config, &config.executable, "/proc/self/exe");',
    ),
}

EMBEDDED = """
import earlyfork, os
status = earlyfork.status()
print(status.early)
# Never the host: that would run the app a second time.
assert os.path.basename(status.interpreter.split(" (")[0]).startswith("python"), status
for process in (earlyfork.new(), earlyfork.new_exec()):
    process.eval("import sys\\ndef f(sock): sock.sendall(b'%d.%d' % sys.version_info[:2])")
    assert process.run("f").recv(10) == b"%d.%d" % __import__("sys").version_info[:2]
    assert process.wait(10) == 0
print("works")
"""


@pytest.fixture(scope="module")
def compiler() -> list[str]:
    """How to compile and link a program that embeds this Python; skips where that can't be."""
    include = sysconfig.get_path("include")
    if not Path(include, "Python.h").exists():
        pytest.skip("no Python.h")
    cc = shutil.which("cc") or shutil.which("gcc")
    if cc is None:
        pytest.skip("no C compiler")
    variables = sysconfig.get_config_vars()
    folder, name = variables["LIBDIR"], f"python{variables['LDVERSION']}"
    flags = [f"-I{include}", f"-L{folder}", f"-l{name}", f"-Wl,-rpath,{folder}", "-Wl,-E"]
    if not variables.get("Py_ENABLE_SHARED"):
        static = variables.get("LIBPL") or folder
        flags.insert(1, f"-L{static}")
    extra = " ".join(variables.get(key) or "" for key in ("LIBS", "SYSLIBS", "LINKFORSHARED"))
    return [cc, "-w", *flags, *extra.split()]


@pytest.mark.parametrize("kind", HOSTS)
def test_c_programs_that_embed_python(tmp_path: Path, compiler: list[str], kind: str) -> None:
    """The host's own binary is no interpreter: launching it would run the app again."""
    code = f"import sys; sys.path[:0] = {[str(support.home_of_earlyfork())]!r}\n{EMBEDDED}"
    literal = '"' + code.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
    name, settings = HOSTS[kind]
    head = f"#define CODE {literal}\n#define SETTINGS {settings}\n"
    (tmp_path / "host.c").write_text(head + support.program(f"interpreter/{name}"))
    cc, *flags = compiler
    built = run_command([cc, "-o", "host", "host.c", *flags], directory=tmp_path, timeout=50)
    if built.returncode:
        pytest.skip(f"can't embed this Python: {built.stderr.strip()[-200:]}")
    for early in (True, False):
        env = {"PYTHONHOME": sys.base_prefix, "EARLYFORK": None if early else "0"}
        done = run_command([tmp_path / "host", "word"], directory=tmp_path, env=env, timeout=30)
        assert output_of(done) == f"{early}\nworks\n"
