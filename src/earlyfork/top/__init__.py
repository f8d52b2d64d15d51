"""`python -m earlyfork top`: what the programs that use earlyfork are doing just now, from outside.

In a frozen app, or any other program: `from earlyfork import top` and `print(top.look())`.
"""

from earlyfork.top._look import NothingThereError, look
from earlyfork.top._page import Page, Program, Row
from earlyfork.top._show import main

__all__ = ["NothingThereError", "Page", "Program", "Row", "look", "main"]

for _public in (NothingThereError, Page, Program, Row, look, main):
    _public.__module__ = "earlyfork.top"  # where users import them from
