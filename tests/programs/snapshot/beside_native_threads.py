"""Takes a snapshot beside a native thread, of native_thread.c."""

import earlyfork
import ctypes
import os
import warnings
import work

assert ctypes.CDLL(os.path.abspath("native.so")).start() == 1
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    from earlyfork.template import TEMPLATE
assert [w.category for w in caught] == [earlyfork.EarlyForkWarning], caught
assert "native-pool" in str(caught[0].message), caught[0]
assert caught[0].filename == __file__, caught[0]
process = TEMPLATE.fork()
assert work.got(process.run(work.pid)) == process.pid
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    from earlyfork.template import snapshot

    snapshot().fork().ready(10)
assert [w.filename for w in caught] == [__file__], caught
