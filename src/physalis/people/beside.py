"""beside: where what people write about an atlas lies: beside its folder, so that building it again touches nothing."""

from pathlib import Path


def notes_beside(atlas: Path) -> Path:
    """The file where the notes of an atlas folder are kept."""
    return _beside(atlas, "notes.db")


def comments_beside(atlas: Path) -> Path:
    """The folder where the comments of an atlas folder are kept, with the key that signs them."""
    return _beside(atlas, "comments")


def _beside(atlas: Path, what: str) -> Path:
    there = atlas.resolve()
    return there.with_name(f"{there.name}.{what}")
