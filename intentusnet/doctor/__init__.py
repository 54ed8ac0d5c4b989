"""The doctor: finds what agents read behind the record, by the line that reads it.

``witness`` notes it while agents run, ``observed`` is what runs in a process that is looked at, ``programs``
says how a command becomes such a process, ``judging`` compares what two of them saw.
"""
