"""path_patching: what a sender does to the metric on its direct way to some receivers, all other nodes held.

(Wang et al. 2022, arXiv 2211.00593; Goldowsky-Dill et al. 2023, arXiv 2304.05969.)

1. For each receiver, one pass of the base run in which the sender has the source run's values and every other head and
   MLP what it had in the base run: what the receiver makes of it has come to it through the stream alone.
2. One pass of the base run in which the receivers have what they made, and all after them is computed.
Norms are computed anew unless ``freeze`` holds their scales (``model.freeze(base)``).
"""

from collections.abc import Mapping, Sequence

from jaxtyping import Float, Int
from torch import Tensor

from physalis.errors import BadInput
from physalis.models import Frozen, Model
from physalis.models.freezing import NOTHING
from physalis.models.model import EVERYWHERE
from physalis.patching.metric import Metric, check_alike, check_tokens, measure
from physalis.patching.nodes import Node, check_nodes, graph_nodes, read_nodes, turn, write_nodes


def direct_effect(
    model: Model,
    base: Int[Tensor, "contexts context"],
    source: Int[Tensor, "_ _"],
    metric: Metric,
    sender: Node,
    *,
    positions: slice = EVERYWHERE,
    freeze: Frozen = NOTHING,
) -> Float[Tensor, " contexts"]:
    """What the metric of the base run changes by where the sender's values of the source run reach its site through
    the stream alone. Raises BadInput as ``patch_activations``."""
    held = _held(model, base, source, sender, positions, [])
    before = measure(model, metric, base, freeze=freeze)
    return measure(model, metric, base, write=write_nodes(held), freeze=freeze) - before


def patch_paths(
    model: Model,
    base: Int[Tensor, "contexts context"],
    source: Int[Tensor, "_ _"],
    metric: Metric,
    sender: Node,
    receivers: Sequence[Node],
    *,
    positions: slice = EVERYWHERE,
    freeze: Frozen = NOTHING,
) -> Float[Tensor, " contexts"]:
    """What the metric of the base run changes by where the sender's values of the source run reach the receivers, and
    nothing else, directly. A receiver is a head's or an MLP's output, or part of ``q``, ``k`` or ``v``. What goes
    from one receiver on to another is not counted: each has what came to it from the sender.

    Raises BadInput as ``patch_activations``, and for a receiver that a pass reaches before the sender."""
    check_nodes(model, receivers)
    for receiver in receivers:
        if turn(receiver)[0] <= turn(sender)[0]:
            raise BadInput(f"{receiver} is reached before or with {sender}, so nothing goes from there to it.")
    made: dict[Node, Tensor] = {}
    for receiver in receivers:
        held = _held(model, base, source, sender, positions, [receiver])
        made |= read_nodes(model, base, [receiver], write=write_nodes(held), freeze=freeze)
    before = measure(model, metric, base, freeze=freeze)
    return measure(model, metric, base, write=write_nodes(made), freeze=freeze) - before


def _held(
    model: Model, base: Tensor, source: Tensor, sender: Node, positions: slice, free: Sequence[Node]
) -> Mapping[Node, Tensor]:
    """The sender's values of the source run at some positions, and the base run's of all nodes that stay as they
    were."""
    check_alike(base, source)
    check_tokens(model, base)
    check_tokens(model, source)
    check_nodes(model, [sender])
    open_sites = {sender.site, *(each.site for each in free)}  # heads of one layer do not read each other
    others = [
        node for node in graph_nodes(model) if node.site not in open_sites and turn(node)[0] >= turn(sender)[0]
    ]  # fmt: skip
    values = read_nodes(model, base, [*others, sender])
    sent = read_nodes(model, source, [sender])[sender]
    values[sender] = values[sender].clone()
    values[sender][:, positions] = sent[:, positions]
    return values
