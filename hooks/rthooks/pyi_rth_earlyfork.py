"""Runtime hook: turns an app that earlyfork launched again into a server, before its main script.

Without earlyfork's marker in the environment it does nothing and imports nothing. It runs in the
app's own `__main__`, so it must leave no name behind there.

With the marker it must not serve at once: the order of runtime hooks is not defined, and later ones
may mend things that user modules need. PyInstaller's bootloader announces each script on
`__main__` before it runs it: `__file__`, then `_pyi_main_co` (read in 5.13 and 6.22). So this hook
watches `__main__` for a `_pyi_main_co` that is no runtime hook, and serves in place of that script.
"""


def _pyi_rthook() -> None:
    import os
    import sys

    if "EARLYFORK_SERVE" not in os.environ:
        return

    def serve() -> None:
        import sys

        from earlyfork._ground import marker

        found = marker.take()
        if found is not None:
            from earlyfork._origin import shed

            shed.serve_marker(*found)
        # The marker was forged. If the app begins with `import earlyfork`, that must still work.
        for name in list(sys.modules):
            if name.partition(".")[0] == "earlyfork":
                del sys.modules[name]

    # Under a name of its own: earlyfork forks whoever imports it as __main__.
    names = {"__name__": "pyi_rth_earlyfork", "__builtins__": __builtins__}
    serve = type(serve)(serve.__code__, names)
    main = sys.modules["__main__"]
    plain = type(main)

    class AwaitMainScript(plain):
        def __setattr__(self, name: str, value: object) -> None:
            if name == "_pyi_main_co" and not is_hook(value.co_filename):
                self.__class__ = plain
                try:
                    serve()
                except BaseException:
                    # The bootloader would ignore it and run the app's body a second time.
                    sys.excepthook(*sys.exc_info())
                    os._exit(1)
            plain.__setattr__(self, name, value)

    def is_hook(file: str) -> bool:
        # Hooks given by --runtime-hook have any name, but run before those of packages; those are
        # all named as PyInstaller's own (seen in hooks-contrib 2026.9).
        return os.path.basename(file).startswith("pyi_rth")

    main.__class__ = AwaitMainScript


_pyi_rthook()
del _pyi_rthook
