"""records: what is stored of an explanation: a feature's rule, and how well it tells where the feature fires."""

from physalis.atlas.records import Estimate, Record
from physalis.explanations.language.rules import Rule


class Detection(Record):
    """How well predicted firing agrees with firing, on held-out documents."""

    f1: Estimate
    """2 hits / (predicted + firing): 0 for a rule that never hits. The interval is over documents."""
    precision: float | None
    """Share of the predicted tokens on which it fires; None where none is predicted."""
    recall: float | None
    """Share of the tokens on which it fires that are predicted; None where it fires on none."""
    balanced_accuracy: float | None
    """Mean of the recall of firing and of silent tokens: .5 for a rule that says always or never."""


class Explanation(Record):
    """One feature's rule."""

    feature: int
    rule: str
    """As ``Rule.parse`` reads it."""
    size: int
    """Its leaves."""
    otherwise: float
    """Mean code where no clause of the rule holds, in the text that it was learned from: what a program that predicts
    the site says there."""
    n_fired: int
    """Tokens on which the feature fires in the text that the rule was learned from."""
    n_held_out: int
    """And in the held-out text."""
    detection: Detection
    """Of all firings, against silence."""
    strong: Detection
    """Of the stronger half of the firings, by the median code of the text that the rule was learned from; against
    silence."""
    correlation: float | None
    """Pearson's, of the predicted and the true code on all held-out tokens; None where either is constant."""
    token: Detection
    """Of the one token that tells best where the feature fires: what a rule has to beat."""
    tokens: Detection | None = None
    """Of the few tokens that together tell best: what a headline of tokens can tell. None in folders of before."""

    @property
    def program(self) -> Rule:
        """The rule, ready to ``predict``."""
        return Rule.parse(self.rule)


class Mean(Record):
    """Of all features that fire in the text that is learned from."""

    f1: Estimate
    """The mean of the features' F1; those that never fire in the held-out text do not count. The interval leaves out
    documents, not features."""
    f1_strong: Estimate
    f1_token: Estimate
    """Of the best single token."""
    at_least_80: float
    """Share of features with an F1 of .8 or more."""
    size: float
    """Median leaves."""
    features: int
    """How many features count."""
