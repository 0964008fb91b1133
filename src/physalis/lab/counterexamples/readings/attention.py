"""CX-09: a head that looks at one token and says what another says."""

import numpy as np
from jaxtyping import Float64

from physalis.lab.counterexamples.base import Counterexample, Gap

TOKENS, WIDTH, SINK = 8, 16, 0.9


def head(*, seed: int) -> tuple[Float64[np.ndarray, " tokens"], Float64[np.ndarray, "tokens d"]]:
    """Where a head looks, nearly always at its first token, and each token's value, of length 1."""
    rng = np.random.default_rng(seed)
    rest = rng.dirichlet(np.ones(TOKENS - 1)) * (1 - SINK)
    values = rng.normal(size=(TOKENS, WIDTH))
    return np.r_[SINK, rest], values / np.linalg.norm(values, axis=1, keepdims=True)


def contributions(weights: Float64[np.ndarray, " tokens"], values: Float64[np.ndarray, "tokens d"]) -> np.ndarray:
    """Each token's share in the output: attention times the length of its value."""
    each = weights * np.linalg.norm(values, axis=1)
    return each / each.sum()


def sink(seed: int) -> Gap:
    weights, values = head(seed=seed)
    silent = values.copy()
    silent[0] = 0.0
    same = values.copy()
    same[1] = same[0]
    swapped = weights[[1, 0, *range(2, TOKENS)]]
    return Gap(
        naive=float(weights[0]),
        truth=float(contributions(weights, silent)[0]),
        control_naive=float(weights[0]),
        control_truth=float(contributions(weights, values)[0]),
        beside={
            "attention moved by swapping two tokens that say the same": float(abs(swapped - weights).sum() / 2),
            "output moved by it": float(np.linalg.norm((swapped - weights) @ same)),
        },
    )


CX_09 = Counterexample(
    id="CX-09",
    belief="Attention weights say what a head's output depends on.",
    model="One head, nine tenths of whose attention lie on a first token with nothing to say (a value of length 0).",
    naive="The first token matters most.",
    truth="It contributes nothing. And where two tokens say the same, attention can go to either, with one output.",
    scale="the first token's share",
    control="the same attention where all values have one length",
    source="Jain and Wallace 2019; Kobayashi et al. 2020",
    warns="head_loadings says what an edge owes to a head, values included.",
    run=sink,
    least=0.85,
    spared=1e-9,
    beside={
        "attention moved by swapping two tokens that say the same": (0.7, 1),
        "output moved by it": (0, 1e-9),
    },
)
