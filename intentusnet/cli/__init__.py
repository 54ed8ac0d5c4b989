"""The command line: `main`, and nothing else that would have to be imported for it.

``app`` is the frame (options, errors, the table of commands), ``settings`` says what the options mean
together with environment and project file, ``output`` is how anything is printed, ``payload`` and ``records``
how it is read. Almost every other file is one command.
"""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Runs the command that the process was started with, and ends the process with its exit code."""
    _open_standard_streams()
    from intentusnet.cli.app import cli

    cli()


def _open_standard_streams() -> None:
    """Puts the null device in the place of standard streams that whoever started this has closed.

    Else the next file to be opened, the log for one, would get the number of such a stream, and with it
    whatever is printed to that.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
            os.set_inheritable(number, True)
            setattr(sys, name, os.fdopen(number, "w" if number else "r", closefd=False))
