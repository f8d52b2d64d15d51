"""Whether an import of earlyfork is the main program's, where that is not plain to see."""

import os
import sys


def for_main(names: list[str]) -> bool:
    """The rest of `main_program_asks` in _early: the innermost importer is not `__main__`."""
    if names == ["runpy"]:  # python -m earlyfork run ...: the program to come is the main one
        return _module_option() == "earlyfork"
    package = names[0].partition(".")[0]
    for position, name in enumerate(names):
        if name.partition(".")[0] != package:
            outer = name
            rest = names[position + 1 :]
            break
    else:
        return False
    if outer == "runpy" and not rest:
        return _module_option().partition(".")[0] == package
    if outer != "__main__":
        return False
    return _module_option().partition(".")[0] == package or _is_console_script()


def _module_option() -> str:
    """The module that `python -m` was asked for, or an empty string."""
    words = iter(sys.orig_argv[1:])
    for word in words:
        if not word.startswith("-") or word == "-":
            return ""
        if word.startswith("--"):
            if word == "--check-hash-based-pycs":
                next(words, "")
            continue
        for position, flag in enumerate(word):  # several flags may stand in one word
            value = word[position + 1 :]
            if flag == "m":
                return value or next(words, "")
            if flag == "c":
                return ""
            if flag in "XW":
                if not value:
                    next(words, "")
                break
    return ""


def _is_console_script() -> bool:
    """Whether `__main__` is a script that an installer wrote: it lies where installers put them."""
    path = getattr(sys.modules["__main__"], "__file__", None)
    if not path:
        return False
    here = os.path.dirname(os.path.abspath(path))
    homes = {os.path.dirname(os.path.abspath(sys.executable)), os.path.join(sys.prefix, "bin")}
    homes.add(os.path.expanduser("~/.local/bin"))
    return here in homes and not path.endswith(".py")
