"""The handle's half: `Process`, and what it knows of one process in another one.

Imports `_shared`, `_ground` and `_context` only, never `_child`.
"""
