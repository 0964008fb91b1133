"""Refusals: why something asked of what people write is not done, each a BadInput that a server tells apart."""

from physalis.errors import BadInput


class NotKnown(BadInput):
    """Whoever asks did not say who they are."""


class NotAllowed(BadInput):
    """This person may not do that."""


class Missing(BadInput):
    """There is no such thing, not any more, or none that this person may know of."""


class Conflict(BadInput):
    """It is no longer in the state that this needs."""
