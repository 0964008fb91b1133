"""run_circuit_suite(): exact patching finds compiled circuits; what says nothing, or all alike, does not."""

import pytest
import torch

from physalis.errors import BadInput
from physalis.lab.rasp import histogram, induction, two_hop
from physalis.lab.rasp.circuit_suite import CIRCUIT_METHODS, run_circuit_suite
from physalis.patching import EdgeScores, NodeGraph

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("make", [histogram, induction, two_hop], ids=lambda make: make.__name__)
def test_exact_patching_finds_the_circuit(make):
    for line in run_circuit_suite(CIRCUIT_METHODS["exact"], tasks=[make], seeds=[0], positions=4):
        assert line.auroc == line.precision == line.recall == 1, line
        assert 0 < line.true < line.edges


def test_where_attention_decides_gradients_miss_it():
    """A head that looks for certain has no slope: what it looks by is not found by EAP, nor by nodes."""
    for name in ("EAP", "RelP", "AtP"):
        lines = run_circuit_suite(CIRCUIT_METHODS[name], tasks=[induction], seeds=[0], positions=3)
        assert all(line.recall < 1 for line in lines), name
    lines = run_circuit_suite(CIRCUIT_METHODS["EAP-IG"], tasks=[induction], seeds=[0], positions=3)
    assert all(line.recall == 1 for line in lines)


def test_my_own_method_is_judged_by_sizes():
    def chance(model, clean, corrupted, metric):
        graph = NodeGraph(model, metric)
        values = torch.rand(graph.exists.shape, generator=torch.Generator().manual_seed(len(clean[0]))) - 0.5
        return EdgeScores(senders=graph.senders, receivers=graph.receivers, values=values, exists=graph.exists)

    lines = run_circuit_suite(chance, tasks=[two_hop], seeds=range(4), positions=1)
    assert len(lines) == 8 and {line.hidden for line in lines} == {False, True}
    assert sum(line.precision for line in lines) / 8 < 0.6

    def broken(model, clean, corrupted, metric):
        found = chance(model, clean, corrupted, metric)
        found.values[0, 0] = torch.nan
        return found

    with pytest.raises(BadInput, match="not finite"):
        run_circuit_suite(broken, tasks=[two_hop], seeds=[0], positions=1)
    with pytest.raises(BadInput, match="At least 1 seed"):
        run_circuit_suite(chance, seeds=[])
