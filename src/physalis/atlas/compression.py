"""inflate: what zstd packed, bounded by what it may be: 100 kB can say that they are 4 GB. No torch."""

import zstandard

from physalis.errors import BadInput


def inflate(blob: object, *, most: int, least: int = 0) -> bytes:
    """The bytes in a frame of zstd that says how many they are, from ``least`` to ``most``. Raises BadInput for
    anything else, before memory is asked for."""
    if not isinstance(blob, bytes):
        raise BadInput("it is no compressed record")
    try:
        size = zstandard.frame_content_size(blob)
        if not least <= size <= most:
            raise BadInput(f"it holds {size:,} bytes, and {_wanted(least, most)}")
        found = zstandard.decompress(blob, max_output_size=most)
    except zstandard.ZstdError as error:
        raise BadInput(f"it is no compressed record ({error})") from error
    if len(found) != size:
        raise BadInput("it is cut short")
    return found


def _wanted(least: int, most: int) -> str:
    return f"should hold {most:,}" if least == most else f"may hold {most:,}"
