"""Has a child of multiprocessing, which runs this again without a snapshot."""

import earlyfork
import multiprocessing
from earlyfork.template import TEMPLATE


def use(answers):
    try:
        TEMPLATE.fork()
    except earlyfork.TemplateError as error:
        answers.put(str(error))


if __name__ == "__main__":
    context = multiprocessing.get_context("spawn")
    answers = context.SimpleQueue()
    worker = context.Process(target=use, args=(answers,))
    worker.start()
    print(answers.get())
    worker.join()
