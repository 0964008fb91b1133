"""spelling: how people's records write ids and times. Each always writes them alike, so that they sort as text.

Of two edits of a note the newer counts, so its time has microseconds; those of comments are signed in whole seconds.
"""

import secrets
from datetime import UTC, datetime

TIME = "%Y-%m-%dT%H:%M:%S.%fZ"


def new_id(digits: int = 32) -> str:
    """An id that nobody else has, of so many hexadecimal digits."""
    return secrets.token_hex(digits // 2)


def now() -> str:
    """This moment."""
    return spell(datetime.now(UTC))


def spell(moment: datetime) -> str:
    """A moment as "2026-11-23T08:15:00.000000Z"."""
    return moment.astimezone(UTC).strftime(TIME)


def spell_seconds(seconds: int) -> str:
    """Seconds since 1970 as "2026-11-23T08:15:00Z"."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
