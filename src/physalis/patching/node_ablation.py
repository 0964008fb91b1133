"""node_ablation: what a model measures with only some of its nodes: all others have another run's values.

Counterfactual (resample) ablation: a node outside the circuit adds what it adds to the corrupted run, so nothing that
the model never computes is put into it (Conmy et al. 2023, arXiv 2304.14997; Zhang & Nanda 2024, arXiv 2309.16042).
"""

from collections.abc import Callable, Collection, Sequence

from jaxtyping import Float, Int
from torch import Tensor

from physalis.errors import BadInput
from physalis.models import Model
from physalis.patching.metric import Metric, check_alike, check_tokens, measure
from physalis.patching.nodes import Node, check_nodes, read_nodes, write_nodes


def ablating_nodes(
    model: Model,
    clean: Int[Tensor, "contexts context"],
    corrupted: Int[Tensor, "_ _"],
    metric: Metric,
    nodes: Sequence[Node],
) -> Callable[[Collection[Node]], Float[Tensor, " contexts"]]:
    """A function of the nodes that are kept: the metric of the clean run where all others of ``nodes`` have their
    corrupted values. What is not among ``nodes`` is computed. The corrupted run is read once, here.

    Raises BadInput for runs of different shapes and for a node that the model does not have; the function, for a kept
    node that is not among ``nodes``."""
    check_alike(clean, corrupted)
    check_tokens(model, clean)
    check_tokens(model, corrupted)
    check_nodes(model, nodes)
    values, known = read_nodes(model, corrupted, nodes), set(nodes)

    def measured(kept: Collection[Node]) -> Tensor:
        if strangers := [node for node in kept if node not in known]:
            raise BadInput(f"{strangers[0]} is none of the {len(known)} nodes that are ablated. Keep some of those.")
        stay = set(kept)
        out = {node: value for node, value in values.items() if node not in stay}
        return measure(model, metric, clean, write=write_nodes(out))

    return measured
