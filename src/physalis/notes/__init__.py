"""What people write about an atlas: labels, notes, lists and votes, kept beside it and merged by union. No torch."""

from physalis.notes.ledger import NotThere as NotThere
from physalis.notes.ledger import NotYours as NotYours
from physalis.notes.ledger import beside as beside
from physalis.notes.ledger import rebind as rebind
from physalis.notes.store import Notes as Notes
