"""What both halves need: frames, payloads, sockets, surroundings, the part in C.

Imports the stdlib and `_context` only. Sent as text to interpreters that are launched.
"""
