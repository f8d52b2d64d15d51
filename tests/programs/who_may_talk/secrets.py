"""Tells a process secrets, and looks for them in the memory of its template and of others."""

import earlyfork
import os
import support
import work


def hidden(word):
    return "".join(reversed(word))


def memory(pid):
    """All of a process's writable memory."""
    found = b""
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", 0) as file:
        for line in maps:
            span, rights = line.split()[:2]
            if "w" in rights and "r" in rights:
                begin, end = (int(each, 16) for each in span.split("-"))
                file.seek(begin)
                found += file.read(end - begin)
    return found


for _ in range(3):
    earlyfork.new().ready(10).close()
template = earlyfork.status().templates[0].pid
words = [
    hidden(word) for word in ("tnemnorivne-terces", "tnemugra-terces", "lave-terces", "htap-terces")
]
process = earlyfork.new(env={**os.environ, "SECRET": words[0]})
process.send_arg(words[1]).eval("token = args[0]", words[2]).ready(10)


def standbys():
    names = support.session(os.getsid(0))
    return [pid for pid in names if names[pid] == "ef-standby" and pid != process.pid]


support.wait_until(standbys)
pids = [template, *standbys()]
for pid in pids:
    kept = memory(pid)
    assert len(kept) > 1_000_000
    for word in words[:3]:
        assert word.encode() not in kept, (pid == template, support.describe(pid), word)
assert all(word.encode() in memory(process.pid) for word in words[:3])
# Nor in what is forked next, from the same template.
seen = work.got(earlyfork.new().run(work.environment))
assert "SECRET" not in seen
after = earlyfork.new().ready(10)
for word in words[:3]:
    assert word.encode() not in memory(after.pid), word
