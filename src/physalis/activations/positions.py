"""positions: what a recording was made of, as the token id and the document number of each position, checked before
anything counts in them."""

import tokenize
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Int32

from physalis.artifact import Manifest, check_digest, plain
from physalis.errors import BadInput

TOKENS, DOCUMENTS = "tokens.npy", "documents.npy"

UNREADABLE = (OSError, ValueError, TypeError, EOFError, OverflowError, MemoryError, SyntaxError, tokenize.TokenError)
"""What numpy raises for files that are no arrays: their headers are Python's literals."""


class Positions:
    """Both arrays of a recording, [contexts, context] int32, mapped from their files.

    That they are there and of that shape is known at once. What they hold is read when it is first asked for: it must
    be what the manifest says by its sha256, and no number may be below 0.
    """

    def __init__(self, folder: Path, manifest: Manifest, shape: tuple[int, int]) -> None:
        """Raises BadInput unless both are arrays of ``shape`` that the manifest names."""
        self.folder, self.manifest, self.context = folder, manifest, shape[1]
        for name in (TOKENS, DOCUMENTS):
            if name not in manifest.files:
                raise BadInput(f"The manifest in {folder} does not name {name}. {AGAIN}")
        self._mapped = {name: mapped(folder / name, shape) for name in (TOKENS, DOCUMENTS)}

    @cached_property
    def tokens(self) -> Int32[np.ndarray, "contexts context"]:
        """Token ids. Raises BadInput if they are not those that were recorded."""
        return self._checked(TOKENS)

    @cached_property
    def documents(self) -> Int32[np.ndarray, "contexts context"]:
        """For each token the number of its document. Raises BadInput if they are not those that were recorded."""
        return self._checked(DOCUMENTS)

    def check_vocabulary(self, size: int) -> None:
        """Raise BadInput for a token id that a model of ``size`` tokens does not have."""
        if (largest := int(self.tokens.max())) >= size:
            raise BadInput(
                f"{self.folder / TOKENS} holds the token id {largest:,}, and the model has {size:,} tokens. The folder "
                "is damaged, or of another model: record again."
            )

    def _checked(self, name: str) -> Int32[np.ndarray, "contexts context"]:
        found = self._mapped[name]
        check_digest(self.folder / name, self.manifest)
        if (least := int(found.min())) < 0:
            raise BadInput(f"{self.folder / name} holds {least}, and ids count from 0. Make the folder again.")
        return found


def mapped(path: Path, shape: tuple[int, int]) -> Int32[np.ndarray, "contexts context"]:
    """An array of int32 of that shape, mapped from its file. Raises BadInput if it is anything else."""
    plain(path)
    try:
        found = np.load(path, mmap_mode="r", allow_pickle=False)
    except UNREADABLE as error:
        said = (str(error) or type(error).__name__).splitlines()[0][:120]
        raise BadInput(f"{path} is not an array that can be read ({said}). {AGAIN}") from error
    if not isinstance(found, np.ndarray):
        raise BadInput(f"{path} is an archive, not an array. {AGAIN}")
    if found.dtype != np.int32 or found.shape != shape or not found.flags.c_contiguous:
        raise BadInput(
            f"{path} holds {found.dtype} {list(found.shape)}, and should hold int32 {list(shape)}, row by row. {AGAIN}"
        )
    return found


AGAIN = "Copy the folder again, or run the record command that made it again: it writes anew what is damaged."
