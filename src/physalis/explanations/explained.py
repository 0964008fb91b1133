"""explained: Explanations, what ``explain`` wrote, read back."""

import json
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int

from physalis import artifact
from physalis.artifact import Manifest
from physalis.atlas.records import Estimate
from physalis.corpora.characters import Piece
from physalis.display import tables
from physalis.errors import BadInput
from physalis.explanations.language.fields import Fields
from physalis.explanations.language.surroundings import Surroundings
from physalis.explanations.records import Explanation, Mean

KIND = "explanations"
RULES, COUNTS, FIELDS = "rules.jsonl", "counts.npy", "fields.npy"
"""The rules, a line each; the counts that they are judged by; and what "like" means in them."""
VOCABULARY = "vocabulary.json"
"""The text of every token, bytes as numbers: with it rules can be run on any tokens of the model. Folders of before had
none."""

PIECES = "rules-*.jsonl"
"""Of an unfinished folder: the rules of some features each, whole as soon as they are there."""


def piece_name(number: int) -> str:
    """The file of a piece's rules."""
    return PIECES.replace("*", f"{number:05}")


def pieces_in(folder: Path) -> list[Path]:
    """Those that an unfinished folder of explanations holds; none where it is finished, or anything else."""
    if (folder / artifact.MANIFEST).exists() or not (folder / artifact.JOB).exists():
        return []
    whole = folder / RULES
    return [whole] if whole.exists() else sorted(each for each in folder.glob(PIECES) if not each.is_symlink())


def write_vocabulary(path: Path, vocabulary: Sequence[Piece]) -> None:
    """As JSON."""
    said = [piece if isinstance(piece, str) else list(piece) for piece in vocabulary]
    artifact.write_atomic(path, lambda at: at.write_text(json.dumps(said)))


def read_vocabulary(path: Path) -> list[Piece]:
    """What ``write_vocabulary`` wrote. Raises BadInput if it is nothing of the kind."""
    try:
        return [piece if isinstance(piece, str) else bytes(piece) for piece in artifact.read_json(path)]
    except (TypeError, ValueError) as error:
        raise BadInput(f"{path} holds no vocabulary ({error}). {artifact.MISFIT}") from error


@runtime_checkable
class Reads(Protocol):
    """A model of text: what is read is known without running it, and so without torch."""

    @property
    def corpus(self) -> Any: ...


class Explanations:
    """The rules of a dictionary's features, and how good they are."""

    def __init__(self, folder: Path, manifest: Manifest, found: list[Explanation]) -> None:
        """Use ``Explanations.open``."""
        self.folder, self.manifest = folder, manifest
        self._found = {each.feature: each for each in found}

    @classmethod
    def open(cls, folder: Path | str) -> "Explanations":
        """Open a finished folder. Raises BadInput if it holds no explanations, or is damaged."""
        folder = Path(folder)
        manifest = artifact.read(folder, KIND)
        return cls(folder, manifest, artifact.read_lines(folder / RULES, manifest, Explanation, "explanations"))

    @classmethod
    def so_far(cls, folder: Path | str) -> "Explanations":
        """What an unfinished folder holds already, or a finished one. The means are of that, and have no intervals
        before all is there. Raises BadInput where nothing can be read yet."""
        folder = Path(folder)
        if (folder / artifact.MANIFEST).exists():
            return cls.open(folder)
        job = artifact.read_json(folder / artifact.JOB)
        if not isinstance(job, dict) or job.get("kind") != KIND or not (pieces := pieces_in(folder)):
            raise BadInput(f"{folder} holds no explanations yet. Wait for the first.")
        try:
            lines = [line for each in pieces for line in artifact.read_bytes(each).decode().split("\n")[:-1]]
            found = [Explanation.model_validate_json(line) for line in lines]
            files = {name: artifact.file_digest(folder / name) for name in (FIELDS, VOCABULARY)}
            facts = {"mean": _mean(found).model_dump(), "n_features": len(found)}
            manifest = Manifest(kind=KIND, config={}, inputs=job["job"]["inputs"], facts=facts, files=files)
        except (OSError, ValueError, KeyError, TypeError) as error:
            if pieces_in(folder) != pieces:  # it was finished meanwhile
                return cls.so_far(folder)
            raise BadInput(f"{folder} cannot be read as far as it is ({type(error).__name__}).") from error
        return cls(folder, manifest, found)

    def __len__(self) -> int:
        return len(self._found)

    def __contains__(self, feature: object) -> bool:
        return feature in self._found

    def __iter__(self) -> Iterator[Explanation]:
        return iter(self._found.values())

    def __getitem__(self, feature: int) -> Explanation:
        """Raises BadInput for a feature that was not explained."""
        if feature not in self._found:
            raise BadInput(f"{self.folder} explains {len(self):,} features; {feature} is none of them.")
        return self._found[feature]

    def __repr__(self) -> str:
        f1 = self.mean.f1.value
        return (
            f"Explanations({str(self.folder)!r}, {len(self):,} features, mean F1 {f1:.2f}, {self.mean.size:g} leaves)"
        )

    @property
    def is_whole(self) -> bool:
        """Whether the folder was finished when it was read."""
        return RULES in self.manifest.files

    @cached_property
    def mean(self) -> Mean:
        """Of all features."""
        return Mean.model_validate(self.manifest.facts["mean"])

    @cached_property
    def counts(self) -> Int[np.ndarray, "features 3 4 blocks"]:
        """What they are judged by: see ``scores.Judged``."""
        artifact.check_digest(self.folder / COUNTS, self.manifest)
        return np.load(self.folder / COUNTS, allow_pickle=False)

    @cached_property
    def fields(self) -> Fields:
        """What "like" means in the rules."""
        artifact.check_digest(self.folder / FIELDS, self.manifest)
        return Fields.load(self.folder / FIELDS)

    @cached_property
    def vocabulary(self) -> list[Piece] | None:
        """The text of every token that the rules may meet; None where it was not kept yet."""
        if VOCABULARY not in self.manifest.files:
            return None
        artifact.check_digest(self.folder / VOCABULARY, self.manifest)
        return read_vocabulary(self.folder / VOCABULARY)

    def surroundings(self, text: str, model: Reads) -> Surroundings:
        """A text of one's own, as the rules read it: ``explanations[12].program.predict(...)`` of it has a code for
        each of its ``tokens``. Raises BadInput for no text."""
        (ids,) = model.corpus.typed([text])
        if not ids:
            raise BadInput(f"There is no token in {text!r}. Give a text.")
        vocabulary = model.corpus.pieces(range(max(model.corpus.ids) + 1))
        return Surroundings(np.array([ids]), vocabulary, self.fields)

    def table(self) -> Any:
        """A pandas DataFrame, a row a feature: ``rule``, ``size``, ``f1``, ``f1_strong``, ``precision``, ``recall``,
        ``correlation``, ``f1_token``, ``n_fired``. Raises BadInput without pandas."""
        every = list(self)
        columns = {
            "feature": [each.feature for each in every], "rule": [each.rule for each in every],
            "size": [each.size for each in every], "f1": [each.detection.f1.value for each in every],
            "f1_strong": [each.strong.f1.value for each in every],
            "precision": [each.detection.precision for each in every],
            "recall": [each.detection.recall for each in every], "correlation": [each.correlation for each in every],
            "f1_token": [each.token.f1.value for each in every], "n_fired": [each.n_fired for each in every],
        }  # fmt: skip
        return tables.columns({name: np.array(values) for name, values in columns.items()}, index="feature")


def _mean(found: list[Explanation]) -> Mean:
    """Of some of the features. They are not drawn by chance, so an interval would say too much."""
    judged = [each for each in found if each.n_held_out]
    f1 = np.array([each.detection.f1.value for each in judged])

    def of(values: list[float]) -> Estimate:
        return Estimate(value=float(np.mean(values)) if values else 0.0, low=None, high=None)

    return Mean(
        f1=of([*f1]), f1_strong=of([each.strong.f1.value for each in judged]),
        f1_token=of([each.token.f1.value for each in judged]),
        at_least_80=float((f1 >= 0.8).mean()) if len(f1) else 0.0,
        size=float(np.median([each.size for each in found])) if found else 0.0, features=len(judged),
    )  # fmt: skip
