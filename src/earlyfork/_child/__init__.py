"""The half of the process that was made: it serves, forks, runs what it is told, and ends.

Imports `_shared` and `_context` only, never `_owner`. All of it is sent as text to interpreters
that are launched, in the order of its imports (`_origin/child_text.py`); `root` comes last.
"""
