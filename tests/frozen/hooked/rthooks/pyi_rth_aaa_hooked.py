import sys

sys.hooks_that_ran = [*getattr(sys, "hooks_that_ran", []), "aaa"]
del sys
