"""Sessions, and what follows from having a record: replay, divergences, differences.

A session answers what an execution asks: `live` from the world, into the log; `recorded` from a record.
"""
