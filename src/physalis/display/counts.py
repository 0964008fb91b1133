"""counted(): a number of things, in words."""


def counted(n: int, what: str) -> str:
    """``counted(1, "file")`` is "1 file", ``counted(2_000, "file")`` "2,000 files"."""
    return f"{n:,} {what}{'' if n == 1 else 's'}"
