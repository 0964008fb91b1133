"""Evaluation: what was measured of a dictionary, read back, as a table and as a notebook shows it."""

from html import escape
from pathlib import Path
from typing import Any

from physalis import artifact
from physalis.artifact import Manifest
from physalis.display import tables
from physalis.metrics import FIRING, RECONSTRUCTION, SPLICE

OWN = "this dictionary"
ORDER = tuple(metric.__name__ for metric in (*RECONSTRUCTION, *SPLICE, *FIRING))
SHORT = ("fvu", "l0", "ce_increase", "dead_fraction")


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
        found = self.facts["metrics"]
        said = [f"{name} {found[name]['value']:.3g}" for name in SHORT if name in found]
        return f"Evaluation({', '.join(said)}; {self.facts['n_held_out']:,} held-out tokens)"

    def table(self) -> Any:
        """A pandas DataFrame with a row for each ``metric`` of each thing that was measured, ``of`` says which: "this
        dictionary", a baseline, or a site where the dictionary predicts several. Without an interval, ``low`` and
        ``high`` are missing. Raises BadInput without pandas."""
        sites = [(site, {"fvu": each}) for site, each in self.facts["sites"].items()]
        return tables.table(
            {"of": of, "metric": metric, "value": each["value"], "low": each["low"], "high": each["high"]}
            for of, metrics in [*self._measured(), *sites]
            for metric, each in metrics.items()
        )

    def _measured(self) -> list[tuple[str, dict[str, Any]]]:
        baselines = [(each["name"], each["metrics"]) for each in self.facts["baselines"]]
        every = [(OWN, self.facts["metrics"]), *baselines]
        return [(of, {name: found[name] for name in ORDER if name in found}) for of, found in every]

    def _repr_html_(self) -> str:
        measured = self._measured()
        heads = "".join(f"<th>{escape(of)}</th>" for of, _ in measured)
        rows = "".join(
            f"<tr><th>{escape(name)}</th>" + "".join(f"<td>{_cell(found.get(name))}</td>" for _, found in measured)
            for name in measured[0][1]
        )
        return f"<table><tr><th></th>{heads}</tr>{rows}</table>"


def _cell(found: dict[str, Any] | None) -> str:
    if found is None:
        return ""
    if found["low"] is None or found["low"] == found["high"]:
        return f"{found['value']:.3g}"
    return f"{found['value']:.3g} [{found['low']:.3g}, {found['high']:.3g}]"
