"""Has workers that change themselves, and make a process then."""

import earlyfork
import work
from programs.kept_apart.kit import CODE, changed, look

before = look(earlyfork.new().eval(CODE))
template = earlyfork.new().eval(CODE)
after = changed(before)
for make in (lambda: earlyfork.new().eval(CODE), template.fork):
    process = make()
    own, inner = work.got(process.run("change_and_look"))
    assert process.wait(10) == 0
    after["signals"][0] = [12, 14]  # it blocked them itself
    assert own == after, (own, after)
    assert inner == {**before, "cwd": "/", "mine": "set", "path": True}, inner
    assert look(make()) == before
