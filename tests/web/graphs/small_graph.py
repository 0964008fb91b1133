"""A graph that can be reckoned by hand: three tokens, two layers, four features, an error, two ends."""

from pathlib import Path

import torch

from physalis import artifact
from physalis.circuits import End, Graph, Verdict
from physalis.circuits.graph import KIND

TOKENS = ("The", " big", " cat")
VERDICT = Verdict(
    sources=4, edge_gap=1e-5, edge_r=0.9, path_r=0.5, end_r=None, answer=0.8, kept_only=0.6, stochastic=0.7,
    adversarial=0.1, none_kept=0.05, dropped=12, kept=4,
)  # fmt: skip
F0, F1, F2, F3 = range(4)
"""Features: of layer 0 at " big" and at " cat", of layer 1 at " cat" twice."""
ERROR = 4 + 3 + 2
"""The column of the error of layer 1 at " cat"."""
BIG, CAT = 4 + 6 + 1, 4 + 6 + 2
"""The columns of two tokens."""


def small_graph() -> Graph:
    """What pruning might have left: a token is in no edge, five errors of six are gone."""
    edges = torch.zeros(6, 4 + 2 * 3 + 3)
    for row, column, weight in (
        (F0, BIG, 2.0), (F1, CAT, 1.0), (F2, F0, 3.0), (F2, CAT, -1.0), (F3, F1, 0.5), (F3, ERROR, 0.0),
        (4, F2, 4.0), (4, F3, -2.0), (4, ERROR, 1.0), (5, F3, 1.0),
    ):  # fmt: skip
        edges[row, column] = weight
    kept = torch.zeros(edges.shape[1], dtype=torch.bool)
    kept[[F0, F1, F2, F3, ERROR]] = True
    kept[-3:] = True
    return Graph(
        model="tiny", prompt="The big cat", tokens=torch.tensor([5, 6, 7]), token_strings=TOKENS, layers=(0, 1),
        ends=(End(" sat", 8, 0.8, 0.8), End(" ran", 9, 0.1, 0.1)), layer=torch.tensor([0, 0, 1, 1]),
        position=torch.tensor([1, 2, 2, 2]), feature=torch.tensor([11, 12, 13, 14]), directions=torch.zeros(2, 4),
        value=torch.tensor([2.0, 1.0, 2.0, 0.5, 4.0, 1.0]), bias=torch.zeros(6), edges=edges,
        left_out=torch.zeros(6), left_out_size=torch.tensor([0.0, 0, 1, 0, 3, 0]), n_active=16, kept=kept,
    )  # fmt: skip


def written(
    out: Path, graph: Graph, *, verdict: Verdict | None = VERDICT, inputs: dict[str, str] | None = None
) -> Path:
    """The graph in a folder, as `physalis trace` leaves it; without a verdict as ``Graph.save`` does."""
    if verdict is None:
        graph.save(out)
        return out
    with artifact.claim(out, KIND, {"prompt": graph.prompt}) as done:
        assert done is None
        graph.finish(out, inputs=inputs or {}, facts={"verdict": verdict.record()})
    return out
