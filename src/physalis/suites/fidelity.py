"""fidelity: how well dictionaries rebuild what they predict, and what the model loses with it, in one round of a suite:
``evaluation``'s own numbers, on documents drawn anew with replacement, the same for all."""

from collections.abc import Iterator, Mapping

import numpy as np

from physalis.activations import Stored
from physalis.dictionaries import Dictionary
from physalis.evaluation import Splicer, reconstructions
from physalis.metrics import Sums
from physalis.suites.records import Measured, Metric

REBUILT = [
    Metric(name="fvu", title="variance unexplained (FVU)", higher_is_better=False),
    Metric(name="cosine", title="cosine of activation and reconstruction, about the mean", higher_is_better=True),
    Metric(name="dead_fraction", title="share of features that never fire", higher_is_better=False),
]
SPLICED = [
    Metric(
        name="loss_recovered_mean", title="share of the loss of putting the mean there that is avoided",
        higher_is_better=True,
    ),
    Metric(name="kl", title="KL to the model's own predictions when spliced in, nats", higher_is_better=False),
]  # fmt: skip
L0 = "l0"


def fidelity(
    subjects: Mapping[str, Dictionary], source: Stored, splicer: Splicer | None, round: int, *, splice_tokens: int
) -> tuple[list[Measured], dict[str, float]]:
    """The metrics of every subject, and L0, which is no merit but what merits are compared at."""
    sums, shares, _ = reconstructions(source, subjects, {}, firing_tokens=source.held_out.n_tokens, seed=round)
    found = [*_resampled(sums, REBUILT[:2], round)]
    name = REBUILT[2].name
    found += [_measured(name, key, round, each[name]["value"]) for key, each in shares.items()]
    if splicer is not None:
        spliced, _ = splicer.measure(subjects, tokens=splice_tokens, seed=round)
        found += _resampled({key: spliced[key] for key in subjects}, SPLICED, round)
    return found, {key: float(each[L0].estimate()["value"]) for key, each in sums.items()}


def _resampled(sums: Mapping[str, Mapping[str, Sums]], metrics: list[Metric], round: int) -> Iterator[Measured]:
    """A bootstrap sample of documents, one for all subjects."""
    for metric in metrics:
        for key, each in sums.items():
            of = each[metric.name]
            some = np.random.default_rng(round).integers(0, len(of.ids), len(of.ids))
            den = float(of.den[some].sum())
            yield _measured(metric.name, key, round, float(of.num[some].sum()) / den if den else None)


def _measured(metric: str, subject: str, round: int, value: float | None) -> Measured:
    return Measured(metric=metric, subject=subject, role="dictionary", round=round, value=value)
