"""What an editor completes: jedi, as IPython and many editors use it, finds each public name."""

from __future__ import annotations

import sys

import jedi

import earlyfork
import earlyfork.command
import earlyfork.rpc

#: What is typed, and some of what is to be offered.
TYPED = [
    ("import earlyfork\nearlyfork.", set(earlyfork.__all__)),
    ("import earlyfork.rpc\nearlyfork.rpc.", set(earlyfork.rpc.__all__)),
    ("import earlyfork.command\nearlyfork.command.", set(earlyfork.command.__all__)),
    ("import earlyfork\nearlyfork.new().", {"require", "run", "wait", "send_fh"}),
    ("import earlyfork\nearlyfork.new().require('a').run('b').", {"accept", "makefile"}),
    ("from earlyfork import new, rpc\nrpc.Client(new()).", {"call", "submit", "stream"}),
    ("from earlyfork.template import TEMPLATE\nTEMPLATE.fork().", {"run", "exec"}),
    ("import earlyfork\nearlyfork.status().", {"early", "reason", "processes"}),
]
environment = jedi.create_environment(sys.prefix, safe=False)
for code, wanted in TYPED:
    missing = wanted - {c.name for c in jedi.Script(code, environment=environment).complete()}
    assert not missing, f"{code.splitlines()[-1]} is not completed with {sorted(missing)}"
