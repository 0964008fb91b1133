"""SQLite files as people and strangers leave them: replaced while they are open, locked, cut short, or hostile."""

from physalis.databases.shared import Shared
from physalis.databases.stamps import Stamp

__all__ = ["Shared", "Stamp"]
