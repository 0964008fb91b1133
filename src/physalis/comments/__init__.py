"""Comments by invited people on features, figures and passages: written, signed, published by the owner. No torch."""

from physalis.comments.database import Database as Database
from physalis.comments.database import beside as beside
from physalis.comments.database import find_beside as find_beside
from physalis.comments.invitations import Invitations as Invitations
from physalis.comments.store import Comments as Comments
