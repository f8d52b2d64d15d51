"""Changes one clone of its snapshot, and looks at others."""

import earlyfork  # noqa: F401 - the first line
from earlyfork.template import TEMPLATE
import support
from programs.kept_apart.kit import CODE, changed, look

before = look(TEMPLATE.fork().eval(CODE))
other = TEMPLATE.fork().eval(CODE).eval("change()").ready(10)
support.wait_for_standby()
after = changed(before)
for _ in range(3):
    assert look(TEMPLATE.fork().eval(CODE)) == before
assert look(other.fork()) == after
assert look(other) == after
