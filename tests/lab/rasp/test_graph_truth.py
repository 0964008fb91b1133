"""judge_graph(): a graph with the oracle's dictionaries has the program's edges, hidden or not; another has not."""

import dataclasses

import pytest
import torch

from physalis.circuits import TranscoderSet, trace
from physalis.lab.rasp import TASKS, hidden, oracle
from physalis.lab.rasp.graph_truth import judge_graph, true_edges

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("turned", [False, True], ids=["compiled", "hidden"])
@pytest.mark.parametrize("make", TASKS, ids=lambda make: make.__name__)
def test_the_graph_has_the_programs_edges(make, turned, tmp_path):
    task = make()
    compiled = hidden(task.compiled()) if turned else task.compiled()
    known = {layer: oracle(compiled, layer).dictionary() for layer in range(compiled.model.n_layers)}
    transcoders = TranscoderSet.write(tmp_path / "set", compiled.model, known)
    lines = []
    for words in task.inputs(4, seed=1):
        graph = trace(compiled.model, transcoders, compiled.encode([words])[0].tolist())
        lines.append(judge_graph(graph, compiled))
    right, found, true = (sum(getattr(line, name) for line in lines) for name in ("right", "found", "true"))
    assert found >= 4 and right >= 0.95 * found and right >= 0.9 * true
    aurocs = [line.auroc for line in lines if line.auroc is not None]
    assert all(value > 0.95 for value in aurocs)


def test_a_graph_with_other_edges_is_judged_so(tmp_path):
    """Edges drawn by chance, and none: the same judge finds them wrong."""
    task = TASKS[-1]()
    compiled = task.compiled()
    known = {layer: oracle(compiled, layer).dictionary() for layer in range(compiled.model.n_layers)}
    transcoders = TranscoderSet.write(tmp_path / "set", compiled.model, known)
    graph = trace(compiled.model, transcoders, compiled.encode(task.inputs(1))[0].tolist())
    assert true_edges(compiled, graph).any()
    other = dataclasses.replace(graph, edges=torch.rand(graph.edges.shape, generator=torch.Generator().manual_seed(0)))
    line = judge_graph(other, compiled)
    assert line.precision < 0.5
    assert line.auroc is not None and 0.2 < line.auroc < 0.8
    nothing = judge_graph(dataclasses.replace(graph, edges=torch.zeros_like(graph.edges)), compiled)
    assert nothing.found == nothing.right == 0
