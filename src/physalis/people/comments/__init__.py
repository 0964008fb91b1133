"""Comments by invited people on features, figures and passages: written, signed, published by the owner. No torch."""

from physalis.people import beside as _beside
from physalis.people.comments.database import Database as Database
from physalis.people.comments.database import find_beside as find_beside
from physalis.people.comments.invitations import Invitations as Invitations
from physalis.people.comments.store import Comments as Comments

beside = _beside.comments_beside
