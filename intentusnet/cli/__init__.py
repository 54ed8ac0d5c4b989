"""The command line: `main`, and nothing else that would have to be imported for it.

``app`` is the frame (options, errors, the table of commands), ``settings`` says what the options mean
together with environment and project file, ``output`` is how anything is printed, ``payload`` and ``records``
how it is read. Almost every other file is one command.
"""

from __future__ import annotations


def main() -> None:
    """Runs the command that the process was started with, and ends the process with its exit code."""
    from intentusnet.cli.app import cli

    cli()
