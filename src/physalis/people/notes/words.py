"""What someone types to search, as SQLite's full-text search is asked."""

TOKENS = "tokenize = 'unicode61 remove_diacritics 2'"
"""How texts are parted into words."""
MOST = 32
"""Words of a query that are looked for; SQLite's parser takes no end of them."""


def match(query: str) -> str:
    """Every word quoted, so that none is an operator, and the last one unfinished. Empty if there is no word at all."""
    clean = "".join(c if c.isprintable() else " " for c in query)
    words = [word for word in clean.split() if any(c.isalnum() for c in word)][:MOST]
    if not words:
        return ""
    return " ".join('"' + word.replace('"', '""') + '"' for word in words) + "*"
