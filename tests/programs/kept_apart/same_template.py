"""Changes one process, and looks at others of the same template: before, beside and after it."""

import earlyfork
import support
from programs.kept_apart.kit import CODE, changed, look

for make in (earlyfork.new, earlyfork.new().eval(CODE).fork):
    before = look(make().eval(CODE))
    prepared_before = make().eval(CODE).ready(10)
    other = make().eval(CODE).eval("change()").ready(10)
    support.wait_for_standby()
    assert look(make().eval(CODE)) == before
    assert look(prepared_before) == before
    after = changed(before)
    assert look(other.fork()) == after, look(other.fork())
    assert look(other.fork().fork()) == after
    assert look(make().eval(CODE)) == before
    assert look(other) == after
    assert look(make().eval(CODE)) == before
