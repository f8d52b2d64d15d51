"""earlyfork in a subinterpreter, `isolated` or as hosts in C make it: said once, and launched."""

import sys

try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters

KIND = sys.argv[1]
if "main too" in sys.argv:
    import earlyfork

    assert earlyfork.status().early

CODE = """
import os, warnings

with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    import earlyfork
    import earlyfork as again

(one,) = said
assert one.category is earlyfork.EarlyForkWarning, one
assert "only the main interpreter forks" in str(one.message), one
status = earlyfork.status()
assert not status.early
assert "this is a subinterpreter" in status.reason, status
try:
    process = earlyfork.new().eval("def work(sock): raise SystemExit(3)")
except earlyfork.LaunchError as error:  # an isolated one may not execute anything, before 3.12
    print("refused", "not supported" in str(error))
else:
    process.run("work").close()
    print("launched", process.wait(20))
"""

if sys.version_info >= (3, 13):
    made = interpreters.create("isolated" if KIND == "isolated" else "legacy")
else:
    made = interpreters.create(isolated=KIND == "isolated")
error = interpreters.run_string(made, CODE)
assert error is None, error
interpreters.destroy(made)
