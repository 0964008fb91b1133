"""evaluated: Suite, what ``evaluate_suite`` wrote, read back: what is shown, with its noise, and what was dropped."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from physalis import artifact
from physalis.artifact import Manifest
from physalis.display import tables
from physalis.errors import BadInput
from physalis.suites import ranking
from physalis.suites.records import Difference, Dropped, Measured, Metric, SuiteScore

KIND = "suite"
MEASURED = "measured.jsonl"


class Suite:
    """The scores of some dictionaries on the metrics that rank the diagnostics as they should."""

    def __init__(self, folder: Path, manifest: Manifest, found: Sequence[Measured]) -> None:
        """Use ``Suite.open``."""
        self.folder, self.manifest = folder, manifest
        self._found = list(found)

    @classmethod
    def open(cls, folder: Path | str) -> "Suite":
        """Open a finished folder. Raises BadInput if it holds no suite, or is damaged."""
        folder = Path(folder)
        manifest = artifact.read(folder, KIND)
        return cls(folder, manifest, artifact.read_lines(folder / MEASURED, manifest, Measured, "measurements"))

    def __repr__(self) -> str:
        return (
            f"Suite({str(self.folder)!r}, {len(self.dictionaries)} dictionaries, {len(self.metrics)} metrics shown, "
            f"{len(self.dropped)} dropped)"
        )

    @property
    def dictionaries(self) -> list[str]:
        """Groups that differ in their seed alone."""
        return list(self.manifest.facts["dictionaries"])

    @property
    def unmeasured(self) -> dict[str, str]:
        """Why a metric was not measured at all, by what it is called."""
        return dict(self.manifest.facts["unmeasured"])

    @cached_property
    def _every(self) -> list[Metric]:
        return [Metric.model_validate(each) for each in self.manifest.facts["metrics"]]

    @cached_property
    def dropped(self) -> list[Dropped]:
        """Metrics that do not rank the diagnostics in their order: nothing of them is shown."""
        return ranking.dropped(self._found, self._every)

    @cached_property
    def metrics(self) -> list[Metric]:
        """Those that are shown."""
        out = {each.metric for each in self.dropped}
        return [each for each in self._every if each.name not in out]

    @cached_property
    def scores(self) -> list[SuiteScore]:
        """Each shown metric of each dictionary, diagnostic and baseline."""
        seeds = {name: each["seeds"] for name, each in self.manifest.facts["dictionaries"].items()}
        return ranking.scores(self._found, self.metrics, seeds)

    @cached_property
    def differences(self) -> list[Difference]:
        """Between every two dictionaries on every shown metric."""
        return ranking.differences(self._found, self.metrics)

    @property
    def measured(self) -> list[Measured]:
        """Every number of every round, also of dropped metrics."""
        return list(self._found)

    def get(self, metric: str, dictionary: str) -> SuiteScore:
        """One of the scores. Raises BadInput if there is none, and says why where the metric was dropped."""
        for each in self.scores:
            if (each.metric, each.dictionary) == (metric, dictionary):
                return each
        for each in self.dropped:
            if each.metric == metric:
                raise BadInput(f"{metric} was dropped: {each.why}. What was measured is in measured.")
        raise BadInput(f"There is no {metric!r} of {dictionary!r} in {self.folder}. See table().")

    def table(self) -> Any:
        """A pandas DataFrame, a row a score: ``metric``, ``dictionary``, ``role``, ``value``, ``noise``, ``cv``,
        ``low``, ``high``, ``smallest_difference``, ``n_rounds``, ``n_seeds``. Raises BadInput without pandas."""
        return tables.table(each.model_dump() for each in self.scores)
