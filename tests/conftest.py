"""What every test shares: how hypothesis searches, and what worker processes begin with.

Deadlines are off because they measure the machine. On CI the examples are the same in every run, so that a
red build can be repeated; elsewhere each run looks further.
"""

import multiprocessing
import os
import signal

import pytest
from hypothesis import settings

pytest_plugins = ["pytester"]  # for tests/plugin: pytest takes it from this conftest only

# Pytest's own program imports nothing of ours, so each worker process would have to, as few programs' do.
multiprocessing.set_forkserver_preload(["intentusnet.workers.worker", "intentusnet.context"])

# Who runs in the background of a script ignores Ctrl-C, and so would each program that a test sends it to.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

pytest.register_assert_rewrite("helpers")

settings.register_profile("default", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, database=None, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "default")
