"""Evaluation: what was measured of a dictionary, read back, as a table and as a notebook shows it."""

from html import escape
from pathlib import Path
from typing import Any

from physalis import artifact, dataframes
from physalis.artifact import Manifest

OWN = "this dictionary"


class Evaluation(Manifest):
    """A finished evaluation: its manifest, whose ``facts`` hold every number (``evaluate`` says how)."""

    @classmethod
    def open(cls, folder: Path | str) -> "Evaluation":
        """Open a folder that ``evaluate`` finished. Raises BadInput if it is none, unfinished, damaged or newer."""
        return cls.of(artifact.read(Path(folder), "evaluation"))

    @classmethod
    def of(cls, manifest: Manifest) -> "Evaluation":
        """The evaluation whose manifest this is."""
        return cls.model_construct(**dict(manifest))

    def __repr__(self) -> str:
        said = [f"{name} {found['value']:.3g}" for name, found in self.facts["metrics"].items()]
        return f"Evaluation({', '.join(said)}; {self.facts['n_held_out']:,} held-out tokens)"

    def table(self) -> Any:
        """A pandas DataFrame with a row for each ``metric`` of each thing that was measured, ``of`` says which: "this
        dictionary", a baseline, or a site where the dictionary predicts several. Without an interval, ``low`` and
        ``high`` are missing. Raises BadInput without pandas."""
        return dataframes.table(
            {"of": of, "metric": metric, "value": each["value"], "low": each["low"], "high": each["high"]}
            for of, metrics in [*self._measured(), *((site, {"fvu": each}) for site, each in self.facts["sites"].items())]
            for metric, each in metrics.items()
        )

    def _measured(self) -> list[tuple[str, dict[str, Any]]]:
        baselines = [(each["name"], each["metrics"]) for each in self.facts["baselines"]]
        return [(OWN, self.facts["metrics"]), *baselines]

    def _repr_html_(self) -> str:
        measured = self._measured()
        heads = "".join(f"<th>{escape(of)}</th>" for of, _ in measured)
        rows = "".join(
            f"<tr><th>{escape(name)}</th>" + "".join(f"<td>{_cell(found.get(name))}</td>" for _, found in measured)
            for name in self.facts["metrics"]
        )
        return f"<table><tr><th></th>{heads}</tr>{rows}</table>"


def _cell(found: dict[str, Any] | None) -> str:
    if found is None:
        return ""
    if found["low"] is None or found["low"] == found["high"]:
        return f"{found['value']:.3g}"
    return f"{found['value']:.3g} [{found['low']:.3g}, {found['high']:.3g}]"
