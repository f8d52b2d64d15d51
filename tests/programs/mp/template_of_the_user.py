"""Has a context with a template of its own beside the common one."""

import os
import sys

import earlyfork.mp

ctx = earlyfork.mp.get_context()


def show():
    return "decimal" in sys.modules, os.environ.get("OF_TEMPLATE")


if __name__ == "__main__":
    t = earlyfork.new(env={**os.environ, "OF_TEMPLATE": "1"}).require("decimal")
    own = earlyfork.mp.get_context(template=t)
    for c in (own, ctx):
        with c.Pool(1) as pool:
            print(*pool.apply(show))

    class Mine(own.Process):
        pass

    p = own.Process(target=show)
    p.start()
    p.join()
    print(p.exitcode, isinstance(p, ctx.Process), issubclass(Mine, ctx.Process))
    try:
        earlyfork.mp.get_context(template="numpy")
    except TypeError as error:
        print(error)
