"""Is read from stdin, so there is no file to run again: says so, and works with a snapshot."""

import earlyfork
import earlyfork.mp


def double(n):
    return 2 * n


from earlyfork.template import TEMPLATE

if __name__ == "__main__":
    context = earlyfork.mp.get_context()
    for start in (context.Process(target=double, args=(1,)).start, lambda: context.Pool(2)):
        try:
            start()
        except earlyfork.TemplateError as error:
            print(error)
    with earlyfork.mp.get_context(template=TEMPLATE).Pool(2) as pool:
        print(pool.map(double, [1, 2]))
