"""BadInput: the one error that is the user's to mend."""


class BadInput(ValueError):
    """What a person gave cannot be used. The message says what was wrong, the value received and what to do."""
