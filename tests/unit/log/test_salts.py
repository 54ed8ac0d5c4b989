"""Salts are random, and no two entries get the same one, in whatever thread or process they are made."""

import subprocess
import sys
import threading

from intentusnet.log.salts import SALT_BYTES, fresh_salt

#: Prints the salts that a process takes before and after it forks, and those of the child.
FORKING = """
import os, sys
from intentusnet.log.salts import fresh_salt
def tell(count):
    os.write(1, b"".join(fresh_salt().hex().encode() + b"\\n" for _ in range(count)))
tell(10)
child = os.fork()
tell(100)
if child:
    os.waitpid(child, 0)
"""


def test_no_salt_is_given_out_twice() -> None:
    """Many threads take salts at once: each is of its length, and all differ."""
    taken: list[list[bytes]] = [[] for _ in range(8)]

    def take(own: list[bytes]) -> None:
        own.extend(fresh_salt() for _ in range(500))

    threads = [threading.Thread(target=take, args=(own,)) for own in taken]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    salts = [salt for own in taken for salt in own]
    assert len(set(salts)) == len(salts) == 4000
    assert {len(salt) for salt in salts} == {SALT_BYTES}


def test_a_child_process_takes_salts_of_its_own() -> None:
    """What the parent has fetched is not given out by the child, too."""
    told = subprocess.run([sys.executable, "-c", FORKING], capture_output=True, check=True).stdout.split()
    assert len(set(told)) == len(told) == 210
