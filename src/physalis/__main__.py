"""``python -m physalis``, and the command ``physalis``. Signals are listened to before anything else is imported."""

import os
import sys

from physalis.runtime.signals import leaving, listening


def main() -> None:
    """Run the command line."""
    open_streams()
    # Processes that this one starts look for no module in the current folder: it may be a stranger's.
    os.environ["PYTHONSAFEPATH"] = "1"
    with leaving(), listening():
        from physalis.cli import main as run

        run()


def open_streams() -> None:
    """Let a standard stream that is closed, as with ``2>&-``, lead nowhere: the next file that is opened would have its
    number, and what is said would be written into it."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            there = os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
            setattr(sys, name, os.fdopen(there, "w" if number else "r", closefd=False))


if __name__ == "__main__":
    main()
