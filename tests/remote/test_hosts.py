"""Real ways to other places: sshd, sudo, unshare, chroot, networks that are slow and lose packets."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import support
from earlyfork import rpc

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import earlyfork

    Connect = Callable[..., earlyfork.Process]

SSHD = shutil.which("sshd") or shutil.which("/usr/sbin/sshd")
#: An interpreter that every user can reach.
PYTHON = os.path.realpath(sys.executable)


def need(*programs: str) -> None:
    """Skip, by name, where one of these is missing."""
    for program in programs:
        if shutil.which(program) is None and not Path("/usr/sbin", program).exists():
            pytest.skip(f"{program} is not installed")


def does(*command: str) -> bool:
    """Whether a command succeeds here."""
    return not subprocess.run(
        command, timeout=20, stderr=subprocess.DEVNULL, check=False
    ).returncode


def works(host: earlyfork.Process) -> None:
    """Run through what everything else is made of."""
    with rpc.Client(host.fork()) as client:
        assert client.call("remote_work:add", 1, 2) == 3
        assert client.call("os:getpid") == client.process.pid
    linked = host.fork()
    with linked.run("remote_work.linger", linked=True) as sock:
        assert int(sock.recv(100)) == linked.pid
        linked.send_signal(signal.SIGTERM)
        assert linked.wait(support.PATIENCE) == -15
    failed = host.fork().send_arg("raise", 0)
    failed.run("remote_work.die").close()
    assert failed.wait(support.PATIENCE) == 1
    assert "nothing there" in str(failed.error)


class Sshd:
    """A server of this test's own, with keys that were made for it."""

    def __init__(self, folder: Path, address: str = "127.0.0.1", port: int = 0) -> None:
        self.folder, self.address = folder, address
        for name in ("host", "user"):
            subprocess.run(
                ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)],
                check=True,
                timeout=20,
            )
        shutil.copy(folder / "user.pub", folder / "authorized")
        (folder / "authorized").chmod(0o600)
        self.port = port or self._free_port()
        key = (folder / "host.pub").read_text(encoding="utf-8").split()
        (folder / "known").write_text(f"[{address}]:{self.port} {key[0]} {key[1]}\n")
        lines = [
            f"Port {self.port}",
            f"ListenAddress {address}",
            f"HostKey {folder / 'host'}",
            f"AuthorizedKeysFile {folder / 'authorized'}",
            f"PidFile {folder / 'pid'}",
            "StrictModes no",
            "UsePAM no",
            "PermitRootLogin prohibit-password",
            "AcceptEnv *",
        ]
        (folder / "config").write_text("\n".join(lines) + "\n", encoding="utf-8")

    def _free_port(self) -> int:
        with socket.socket() as sock:
            sock.bind((self.address, 0))
            port: int = sock.getsockname()[1]
            return port

    def start(self, *before: str) -> subprocess.Popen[bytes]:
        """Start it; it answers when this returns."""
        Path("/run/sshd").mkdir(exist_ok=True)
        assert SSHD is not None
        command = [*before, SSHD, "-D", "-e", "-f", str(self.folder / "config")]
        process = subprocess.Popen(command, stderr=subprocess.PIPE)
        assert process.stderr is not None
        line = b""
        while b"listening" not in line:
            line = process.stderr.readline()
            assert line, "sshd has ended"
        return process

    def command(self, *options: str) -> list[str]:
        """How to get there."""
        return [
            "ssh",
            *("-F", "/dev/null", "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes"),
            *("-i", str(self.folder / "user"), "-p", str(self.port), *options),
            *("-o", f"UserKnownHostsFile={self.folder / 'known'}", self.address),
        ]


@contextlib.contextmanager
def ended(process: subprocess.Popen[bytes]) -> Iterator[None]:
    try:
        yield
    finally:
        process.terminate()
        process.wait(support.PATIENCE)
        assert process.stderr is not None
        process.stderr.close()


@pytest.fixture
def sshd(tmp_path: Path) -> Iterator[Sshd]:
    """A server on the loopback."""
    need("sshd", "ssh", "ssh-keygen")
    if os.geteuid():
        pytest.skip("sshd is started as root here")
    server = Sshd(tmp_path)
    with ended(server.start()):
        yield server


@pytest.mark.timeout(120)
def test_ssh(connect: Connect, sshd: Sshd) -> None:
    works(connect(sshd.command(), python=PYTHON))


@pytest.mark.timeout(120)
def test_ssh_with_a_start_file_that_talks(connect: Connect, sshd: Sshd, tmp_path: Path) -> None:
    """And behind that sudo and unshare, and a second ssh."""
    need("sudo", "unshare")
    authorized = tmp_path / "authorized"
    key = authorized.read_text(encoding="utf-8")
    noisy = 'command="echo welcome; echo to you >&2; eval \\"$SSH_ORIGINAL_COMMAND\\"" '
    authorized.write_text(noisy + key, encoding="utf-8")
    works(connect([*sshd.command(), "sudo", "-n", "unshare", "-m"], python=PYTHON))
    works(connect([*sshd.command(), *sshd.command()], python=PYTHON))


@pytest.mark.timeout(120)
def test_ssh_that_is_refused_or_ends(connect: Connect, sshd: Sshd, tmp_path: Path) -> None:
    host = connect(sshd.command(), python=PYTHON)
    worker = host.fork()
    sock = worker.run("remote_work.linger", linked=True)
    pid = int(sock.recv(100))
    servers = [
        child
        for child, _ in support.descendants(os.getpid())
        if support.comm(child).startswith("sshd") and child != int((tmp_path / "pid").read_text())
    ]
    os.kill(servers[-1], signal.SIGKILL)
    import earlyfork

    with pytest.raises(earlyfork.ProcessLost, match="status 255"):
        worker.wait(support.PATIENCE)
    assert support.gone_within(pid)
    sock.close()
    (tmp_path / "authorized").write_text("", encoding="utf-8")
    with pytest.raises(earlyfork.LaunchError, match="Permission denied"):
        connect(sshd.command(), python=PYTHON, ships=False).ready(support.PATIENCE)


@pytest.mark.root
@pytest.mark.parametrize("pty", [False, True], ids=["plain", "use_pty"])
def test_sudo(connect: Connect, tmp_path: Path, pty: bool) -> None:
    need("sudo")
    flag = "Defaults use_pty" if pty else "Defaults !use_pty"
    rules = tmp_path / "sudoers"
    rules.write_text(f"{flag}\nDefaults !pam_session\nroot ALL=(ALL:ALL) NOPASSWD: ALL\n")
    rules.chmod(0o440)
    # sudo reads its rules from one place only: this one is put there for it alone.
    mount = f'mount --bind {rules} /etc/sudoers && exec sudo -n -u nobody "$@"'
    command = ["unshare", "-m", "sh", "-c", mount, "sh"]
    if not does(*command, "true"):
        pytest.skip("sudo or mount do not work here")
    python = next(
        (path for path in (PYTHON, "/usr/bin/python3") if does(*command, path, "-c", "")), ""
    )
    if not python:
        pytest.skip("nobody can't reach any Python here")
    host = connect(command, python=python)
    works(host)
    with rpc.Client(host.fork()) as client:
        assert client.call("os:getuid") == client.call("os:geteuid") != 0


@pytest.mark.root
@pytest.mark.parametrize(
    "options", [("-m",), ("-m", "-p", "-f", "--mount-proc"), ("-n", "-u", "-i")]
)
def test_unshare(connect: Connect, options: tuple[str, ...]) -> None:
    need("unshare")
    command = ["unshare", *options]
    if not does(*command, "true"):
        pytest.skip("unshare is not allowed here")
    host = connect(command)
    process = host.fork().send_arg("exit", 3)
    process.run("remote_work.die").close()
    assert process.wait(support.PATIENCE) == 3
    if "-p" in options:  # a pid of theirs says nothing here, and is signalled all the same
        linked = host.fork()
        with linked.run("remote_work.linger", linked=True) as sock:
            assert int(sock.recv(100)) == linked.pid < 100
            linked.kill()
            assert linked.wait(support.PATIENCE) == -9


@pytest.mark.root
def test_chroot(connect: Connect, tmp_path: Path) -> None:
    """Into a directory that has nothing but what an interpreter needs."""
    need("chroot", "unshare")
    root = tmp_path / "root"
    root.mkdir()
    prefix = Path(PYTHON).parent.parent
    folders = [prefix, Path("/lib"), Path("/lib64"), Path("/usr/lib"), Path("/dev")]
    found = [folder for folder in folders if folder.is_dir()]
    binds = " && ".join(f"mkdir -p {root}{at} && mount --rbind {at} {root}{at}" for at in found)
    command = ["unshare", "-m", "sh", "-c", f'{binds} && exec chroot {root} "$@"', "sh"]
    if not does(*command, PYTHON, "-c", ""):
        pytest.skip("chroot or mount are not allowed here")
    host = connect(command, python=PYTHON)
    works(host)
    with rpc.Client(host.fork()) as client:
        assert not client.call("os.path:exists", str(Path(__file__)))


@pytest.mark.root
@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_slow_network_that_loses_packets(connect: Connect, tmp_path: Path) -> None:
    """Two network namespaces, 25 ms each way, and 1 % of the packets lost."""
    need("sshd", "ssh", "ssh-keygen", "ip", "tc")
    name = f"ef{os.getpid()}"
    inside = ["ip", "netns", "exec", name]
    steps = (
        ["ip", "netns", "add", name],
        ["ip", "link", "add", name, "type", "veth", "peer", "name", f"{name}p", "netns", name],
        ["ip", "addr", "add", "10.231.7.1/24", "dev", name],
        ["ip", "link", "set", name, "up"],
        [*inside, "ip", "addr", "add", "10.231.7.2/24", "dev", f"{name}p"],
        [*inside, "ip", "link", "set", f"{name}p", "up"],
        ["tc", "qdisc", "add", "dev", name, "root", "netem", "delay", "25ms", "loss", "1%"],
        [*inside, "tc", "qdisc", "add", "dev", f"{name}p", "root", "netem", "delay", "25ms"],
    )
    try:
        for step in steps:
            if not does(*step):
                pytest.skip(f"{' '.join(step)} is not allowed here")
        server = Sshd(tmp_path, "10.231.7.2", 2222)
        with ended(server.start(*inside)):
            host = connect(server.command(), python=PYTHON)
            works(host)
            process = host.fork().send_arg(1 << 20)
            with process.run("remote_work.count") as sock:
                assert len(support.read_until_eof(sock.fileno(), 60)) == 1 << 20
                sock.sendall(b"y" * (1 << 20))
                sock.shutdown(socket.SHUT_WR)
                assert process.wait(60) == 0
            host.close()
    finally:
        for step in (["ip", "link", "del", name], ["ip", "netns", "del", name]):
            subprocess.run(step, timeout=20, stderr=subprocess.DEVNULL, check=False)
