"""What people write about an atlas: labels, notes, lists and votes, kept beside it and merged by union. No torch."""

from physalis.people.notes.ledger import NotThere as NotThere
from physalis.people.notes.ledger import NotYours as NotYours
from physalis.people.notes.ledger import beside as beside
from physalis.people.notes.ledger import rebind as rebind
from physalis.people.notes.store import Notes as Notes
