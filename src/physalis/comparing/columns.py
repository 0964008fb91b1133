"""columns: the arrays of a finished comparison or forest, and that they are what whoever reads them takes for granted.
No torch."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from physalis import artifact
from physalis.errors import BadInput


class Columns(Mapping[str, np.ndarray]):
    """Arrays by name, from a file that may be anyone's: each is checked before it is used."""

    def __init__(self, path: Path, manifest: artifact.Manifest) -> None:
        """Raises BadInput if the file is missing, damaged, or not what ``manifest`` says of it."""
        self.path = path
        artifact.plain(path)
        try:
            self._arrays = load_file(path)
        except (OSError, SafetensorError, ValueError, TypeError, KeyError) as error:
            raise self._damaged(str(error)) from error
        artifact.check_digest(path, manifest)

    def __getitem__(self, name: str) -> np.ndarray:
        return self._arrays[name]

    def __iter__(self):
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    def check_ids(self, name: str, n: int | None, *, low: int, end: int | None = None) -> None:
        """Raises BadInput unless ``name`` holds ``n`` whole numbers (None: any number of them), from ``low`` to before
        ``end``."""
        values = self._row(name, n)
        if values.dtype.kind not in "iu":
            raise self._damaged(f"{name} holds no whole numbers")
        if len(values) and not (values.min() >= low and (end is None or values.max() < end)):
            raise self._damaged(f"{name} holds {values.min()} to {values.max()}")

    def check_numbers(self, name: str, n: int | None) -> None:
        """Raises BadInput unless ``name`` holds ``n`` numbers. What was not measured is NaN."""
        if self._row(name, n).dtype.kind != "f":
            raise self._damaged(f"{name} holds no numbers")

    def check_ends(self, name: str, n: int, total: int) -> None:
        """Raises BadInput unless ``name`` divides ``total`` entries into ``n`` parts, of which none is empty."""
        self.check_ids(name, n + 1, low=0, end=total + 1)
        ends = self[name].astype(np.int64)
        if ends[0] != 0 or ends[-1] != total or (np.diff(ends) < 1).any():
            raise self._damaged(f"{name} does not divide {total:,} entries")

    def _row(self, name: str, n: int | None) -> np.ndarray:
        values = self._arrays.get(name)
        if values is None:
            raise self._damaged(f"it has no {name}")
        if values.ndim != 1 or (n is not None and len(values) != n):
            raise self._damaged(f"{name} has the shape {list(values.shape)}, not {[n]}")
        return values

    def _damaged(self, why: str) -> BadInput:
        return BadInput(f"{self.path} cannot be read ({why}). The folder is damaged: delete it and make it again.")
