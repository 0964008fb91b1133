"""words: Words, what a language model said of features, read back."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from physalis import artifact
from physalis.artifact import Manifest
from physalis.atlas.records import Record
from physalis.display import tables
from physalis.errors import BadInput

KIND = "words"
WORDS = "words.jsonl"


class Description(Record):
    """What was said of one feature."""

    feature: int
    words: str
    side: Literal["input", "output"]
    """input: by what it fires on. output: by the tokens that it promotes."""
    prompt: str
    """sha256 of the whole request: model, settings and what was shown."""
    model: str
    """Who said it."""
    tokens_read: int
    """Of the request, as the model counted them."""
    tokens_written: int


class Words:
    """Descriptions of features."""

    def __init__(self, folder: Path, manifest: Manifest, found: Sequence[Description]) -> None:
        """Use ``Words.open``."""
        self.folder, self.manifest = folder, manifest
        self._found = {each.feature: each for each in found}

    @classmethod
    def open(cls, folder: Path | str) -> "Words":
        """Open a finished folder. Raises BadInput if it holds no words, or is damaged."""
        folder = Path(folder)
        manifest = artifact.read(folder, KIND)
        return cls(folder, manifest, artifact.read_lines(folder / WORDS, manifest, Description, "words"))

    def __len__(self) -> int:
        return len(self._found)

    def __contains__(self, feature: object) -> bool:
        return feature in self._found

    def __iter__(self) -> Iterator[Description]:
        return iter(self._found.values())

    def __getitem__(self, feature: int) -> Description:
        """Raises BadInput for a feature that was not described."""
        if feature not in self._found:
            raise BadInput(f"{self.folder} describes {len(self):,} features; {feature} is none of them.")
        return self._found[feature]

    def __repr__(self) -> str:
        return f"Words({str(self.folder)!r}, {len(self):,} features, by {self.manifest.config['teller']})"

    def table(self) -> Any:
        """A pandas DataFrame, a row a feature: ``words``, ``side``, ``model``, ``tokens_read``, ``tokens_written``.
        Raises BadInput without pandas."""
        names = ("feature", "words", "side", "model", "tokens_read", "tokens_written")
        return tables.table({name: getattr(each, name) for name in names} for each in self)
