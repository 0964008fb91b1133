"""What people write about an atlas: labels, notes, lists and votes, kept beside it and merged by union. No torch."""

from physalis import renamed
from physalis.lazy import lazy
from physalis.people import beside as _beside
from physalis.people.notes.ledger import rebind as rebind
from physalis.people.notes.store import Notes as Notes
from physalis.people.notes.store import find_beside as find_beside

beside = _beside.notes_beside

_HOME = {"Missing": "store", "NotAllowed": "store"}
__getattr__, __dir__ = lazy(__name__, _HOME, renamed=renamed.CLASSES["people.notes"])
