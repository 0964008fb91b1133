"""pictures: those of an article: files beside it, known by their first bytes and not by their names, read once."""

import hashlib
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from physalis.artifact import untrusted
from physalis.errors import BadInput

TYPES = {
    ".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".gif": "image/gif", ".webp": "image/webp",
    ".avif": "image/avif",
}  # fmt: skip
"""What names of pictures end in, and what that is called in HTTP. Not .svg: opened by itself, such a file may run a
script in the site's name."""

MOST = 32 << 20
"""Bytes of a picture."""


class Picture(NamedTuple):
    """A picture as a page shows it."""

    name: str
    """What its file is called there: of its content, so that two are never one."""
    content: bytes


def read_picture(folder: Path, said: str) -> Picture:
    """The picture that an article in ``folder`` calls ``said``. Raises BadInput for what does not lie there, is a link,
    is too large, or is no picture whatever its name."""
    if PurePosixPath(said).suffix.lower() not in TYPES:
        raise BadInput(f"A picture is a file that ends in {', '.join(TYPES)}.")
    content = untrusted.contents(untrusted.open_inside(folder, said), said, most=MOST)
    suffix = suffix_of(content)
    if suffix is None:
        raise BadInput(f"{untrusted.shown(said)} holds something else than PNG, JPEG, GIF, WebP or AVIF.")
    return Picture(hashlib.sha256(content).hexdigest()[:16] + suffix, content)


def suffix_of(content: bytes) -> str | None:
    """What the name of a picture with these bytes ends in; None where they are none that pages show."""
    if content.startswith(b"\x89PNG\r\n\x1a\n"):
        return ".png"
    if content.startswith(b"\xff\xd8\xff"):
        return ".jpg"
    if content.startswith((b"GIF87a", b"GIF89a")):
        return ".gif"
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return ".webp"
    if content[4:8] == b"ftyp" and content[8:12] in (b"avif", b"avis", b"mif1"):
        return ".avif"
    return None
