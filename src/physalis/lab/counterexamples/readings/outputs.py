"""What a feature is for, told by what it fires on: CX-26."""

import numpy as np

from physalis.lab.counterexamples.base import Counterexample, Gap

VOCAB, CAUSES, N = 500, 60, 50_000
SIZE = 5.0
"""Of what the feature adds to a logit."""


def told(causes: int, seed: int) -> tuple[float, float]:
    """Of a feature that fires on ``causes`` tokens and adds to the logit of one: the largest share of its firings that
    one token is of, and the largest share of what it adds to predictions."""
    rng = np.random.default_rng(seed)
    tokens = rng.integers(VOCAB, size=N)
    on = np.isin(tokens, rng.choice(VOCAB, causes, replace=False))
    adds = np.zeros(VOCAB)
    adds[rng.integers(VOCAB)] = SIZE
    logits = rng.normal(size=(200, VOCAB))
    before, after = (np.exp(each) / np.exp(each).sum(1, keepdims=True) for each in (logits, logits + adds))
    more = np.maximum(after - before, 0).mean(0)
    return float(np.bincount(tokens[on]).max() / on.sum()), float(more.max() / more.sum())


def output(seed: int) -> Gap:
    (naive, truth), (control, control_truth) = told(CAUSES, seed), told(1, seed)
    return Gap(naive=naive, truth=truth, control_naive=control, control_truth=control_truth)


CX_26 = Counterexample(
    id="CX-26",
    belief="What a feature is about stands in the text that it fires on.",
    model="A feature that fires on 60 of 500 tokens, which have nothing in common, and adds to the logit of one.",
    naive="No token is more than a few in a hundred of its firings: it looks like nothing.",
    truth="All that it adds to what comes next is one token: it is that token's feature.",
    scale="the largest share that a single token has: in the firings (naive), in what is added to predictions (truth)",
    control="one token on which it fires",
    source="Gur-Arieh et al. 2025, Enhancing Automated Interpretability with Output-Centric Feature Descriptions, "
    "arXiv 2501.08319",
    warns="describe --side auto: what it promotes, where that tells more. Rules read only the text before.",
    run=output,
    least=0.9,
    spared=0.01,
)
