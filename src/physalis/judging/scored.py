"""scored: Scores, what ``score`` wrote, read back, and beside those of other explanations, dictionaries and models."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from physalis import artifact
from physalis.artifact import Manifest
from physalis.display import tables
from physalis.errors import BadInput
from physalis.judging.records import MEANS_SOMETHING, OverCorpora, Score, variation

KIND = "scores"
SCORES = "scores.jsonl"


class Scores(Sequence[Score]):
    """How good explanations are, number by number."""

    def __init__(self, folder: Path, manifest: Manifest, found: Sequence[Score]) -> None:
        """Use ``Scores.open``."""
        self.folder, self.manifest = folder, manifest
        self._found = list(found)

    @classmethod
    def open(cls, folder: Path | str) -> "Scores":
        """Open a finished folder. Raises BadInput if it holds no scores, or is damaged."""
        folder = Path(folder)
        manifest = artifact.read(folder, KIND)
        return cls(folder, manifest, artifact.read_lines(folder / SCORES, manifest, Score, "scores"))

    def __len__(self) -> int:
        return len(self._found)

    def __getitem__(self, i: Any) -> Any:
        return self._found[i]

    def __iter__(self) -> Iterator[Score]:
        return iter(self._found)

    def __repr__(self) -> str:
        judges = dict.fromkeys(each.judge for each in self)
        return f"Scores({str(self.folder)!r}, {len(self):,} numbers of {', '.join(judges)})"

    def get(self, task: str, judge: str, metric: str | None = None, corpus: str | None = None) -> Score:
        """One of them: the first metric of the task on the first recording unless named. Raises BadInput if there is
        none."""
        for each in self:
            if (each.task, each.judge) == (task, judge) and metric in (None, each.metric):
                if corpus in (None, each.corpus):
                    return each
        raise BadInput(f"There is no score of {judge!r} at {task!r} in {self.folder}.")

    def over_corpora(self) -> list[OverCorpora]:
        """Each score on the several recordings that were judged on; none if it was one."""
        found: dict[tuple[str, str, str], dict[str, float]] = {}
        for each in self:
            found.setdefault((each.task, each.judge, each.metric), {})[each.corpus] = each.estimate.value
        made = []
        for (task, judge, metric), values in found.items():
            if len(values) > 1:
                every = np.array(list(values.values()))
                spread = float(every.std(ddof=1))
                made.append(OverCorpora(
                    task=task, judge=judge, metric=metric, values=values, spread=spread,
                    cv=variation(every, spread), smallest_difference=MEANS_SOMETHING * spread,
                ))  # fmt: skip
        return made

    def beside(self, others: Sequence["Scores"]) -> dict[tuple[str, str, str, str], list[float | None]]:
        """By corpus, task, judge and metric what stands in the same place of each of ``others``: the same explanations'
        baselines, a model with shuffled weights or a dictionary with random directions, are scored as they are."""
        theirs = [{_place(each, skip_corpus=True): each.estimate.value for each in other} for other in others]
        return {_place(each): [values.get(_place(each, skip_corpus=True)) for values in theirs] for each in self._found}

    def table(self) -> Any:
        """A pandas DataFrame, a row a score: ``corpus``, ``task``, ``judge``, ``metric``, ``value``, ``low``, ``high``,
        ``chance``, ``spread``, ``cv``, ``smallest_difference``, ``n_features``, ``n_answers``. Raises BadInput without
        pandas."""
        return tables.table(
            {
                "corpus": each.corpus, "task": each.task, "judge": each.judge, "metric": each.metric,
                **each.estimate.model_dump(), "chance": each.chance, "spread": each.noise.spread,
                "cv": each.noise.cv, "smallest_difference": each.noise.smallest_difference,
                "n_features": each.n_features, "n_answers": each.n_answers,
            }
            for each in self
        )  # fmt: skip


def _place(each: Score, *, skip_corpus: bool = False) -> tuple[str, str, str, str]:
    return "" if skip_corpus else each.corpus, each.task, each.judge, each.metric
