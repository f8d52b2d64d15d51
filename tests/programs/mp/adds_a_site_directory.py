"""Adds a directory with a .pth file after the import, and looks what of it each process has."""

import os
import site
import sys

import earlyfork
import earlyfork.mp
import work

PLACE = os.path.abspath("place")
if __name__ == "__main__":
    os.mkdir(PLACE)
    with open(f"{PLACE}/hook.pth", "w") as file:
        file.write("import sys; sys.hook_of_mine = 'run'\n")
if __name__ == "__main__" or "again" in sys.argv:
    site.addsitedir(PLACE)

from earlyfork.template import TEMPLATE


def ask(process):
    return work.got(process.send_arg(PLACE).run(work.site_directory))


if __name__ == "__main__":
    print("new", *ask(earlyfork.new()))
    print("told", *ask(earlyfork.new().call(site.addsitedir, PLACE)))
    print("snapshot", *ask(TEMPLATE.fork()))
    with earlyfork.mp.get_context().Pool(1) as pool:
        print("mp", *pool.apply(work.has_site_directory, (PLACE,)))
