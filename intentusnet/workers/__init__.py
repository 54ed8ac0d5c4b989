"""Worker processes: where agents run that are isolated by a process of their own.

`processes` is what the engine calls, `pool` keeps workers warm, `turn` serves one call, ``worker`` is what
runs in the other process, and ``wire`` is what the two say to each other.
"""
