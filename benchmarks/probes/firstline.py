from time import perf_counter

start = perf_counter()
import earlyfork

end = perf_counter()
import sys

modules = len(sys.modules)
print('{"import": [%r], "modules": %d, "early": %d}' % (end - start, modules, bool(earlyfork._forked)))
