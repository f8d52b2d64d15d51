"""The half of the process that was made: it serves, forks, runs what it is told, and ends.

Imports `_shared` and `_context` only, never `_owner`. Sent as text to interpreters that are
launched, in the order of its imports: children, commands, server and root on top of the rest.
"""
