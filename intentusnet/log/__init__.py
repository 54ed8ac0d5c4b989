"""The append-only log: entries, segments, the writer, recovery of a torn tail, and verification.

One log is one directory of segments. It is the write-ahead log, the audit trail and the record, all in one:
nothing is written twice. ``entry`` specifies a line, ``segment`` the files, ``writer`` how lines get there,
``recovery`` what happens after a crash, ``verify`` what an auditor runs.
"""
