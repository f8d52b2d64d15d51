"""The handle's half: `Process`, and all that one process knows of another one.

Imports `_shared`, `_ground` and `_context` only, never `_child`.
"""
