"""Where processes come from: the default template, a launched interpreter, a snapshot.

The only room that knows both halves, the owner's and the child's.
"""
