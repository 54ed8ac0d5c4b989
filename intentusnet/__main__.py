"""`python -m intentusnet` is the command `intentusnet`."""

from intentusnet.cli import main

if __name__ == "__main__":
    main()
