"""BadInput: the one error that is the user's to mend; Unavailable: what cannot be had just now."""


class BadInput(ValueError):
    """What a person gave cannot be used. The message says what was wrong, the value received and what to do."""


class Unavailable(BadInput):
    """What was asked for cannot be had now: a file is gone, damaged, locked, or being replaced. A server answers 503.

    The message names files, not folders: visitors of a server read it.
    """
