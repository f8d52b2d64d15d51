"""A host that embeds Python, on a machine that has no other: all that could be asked says so."""

import os
import sys
import sysconfig

HERE = os.getcwd()
NAME = f"python{sys.version_info[0]}.{sys.version_info[1]}"


def pretend(executable):
    """Become such a host, with this sys.executable."""
    os.mkdir("bin")
    os.mkdir("build")
    for path in (f"bin/{NAME}", "build/fish"):
        with open(path, "w") as file:
            file.write("#!/bin/sh\n")  # not executable
    os.chmod("build/fish", 0o755)
    sys.executable = executable
    sys.prefix = sys.base_prefix = sys.exec_prefix = sys.base_exec_prefix = HERE
    sys._base_executable = "bin/relative"
    sys.orig_argv = []
    sysconfig.get_config_vars()["BINDIR"] = HERE + "/gone"
    os.environ["PATH"] = HERE + "/bin"
