"""arguments: how the command line is read: amounts, options, settings, and the sentence for what cannot be.

``options`` has what several commands share, ``amounts`` and ``settings`` read what was written, ``early`` judges it
before torch is there; ``help`` and ``usage`` are what ``--help`` shows, and ``sentences`` what ends a command.
"""

__all__ = ["amounts", "asked", "defaults", "early", "help", "options", "sentences", "settings", "sources", "usage"]
