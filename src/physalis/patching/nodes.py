"""nodes: Node, what is patched as one thing: a site, or the columns of it that are one head's or one neuron's."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from jaxtyping import Float, Int
from torch import Tensor

from physalis.errors import BadInput
from physalis.models import Frozen, Model, Write
from physalis.models.freezing import NOTHING
from physalis.models.hooks import depth
from physalis.models.model import EVERYWHERE
from physalis.site import Site


@dataclass(frozen=True, slots=True)
class Node:
    """A site, or some columns of it. Raises BadInput for columns that are none."""

    site: Site
    columns: tuple[int, int] | None = None
    """The first of them, and the one after the last; all unless given."""

    def __post_init__(self) -> None:
        if self.columns is not None and not 0 <= self.columns[0] < self.columns[1]:
            raise BadInput(f"Columns go from a first to one after the last, from 0 on; received {self.columns}.")

    def __str__(self) -> str:
        return str(self.site) if self.columns is None else f"{self.site}[{self.columns[0]}:{self.columns[1]}]"

    @property
    def span(self) -> slice:
        """Its columns, to index with."""
        return EVERYWHERE if self.columns is None else slice(*self.columns)


def heads(model: Model, layer: int) -> tuple[Node, ...]:
    """Each head's part of ``z``, in order. Raises BadInput for a layer without ``z``, or whose heads are not said."""
    site = Site("z", layer)
    width, config = model.width(site), model.hf.config
    text: Any = getattr(config, "get_text_config", lambda: config)()
    n = getattr(text, "num_attention_heads", None) or getattr(text, "n_heads", None)
    if n is None or width % n:
        raise BadInput(
            f"{model.name} does not say how many heads share the {width} columns of {site} ({n} were named). "
            "Make the nodes yourself: Node(site, (first, one after the last))."
        )
    d = width // n
    return tuple(Node(site, (i * d, (i + 1) * d)) for i in range(n))


def graph_nodes(model: Model) -> tuple[Node, ...]:
    """The embedding, every head and every MLP, in the order of a pass: what the residual stream is the sum of, but for
    biases. Layers that lack attention's or the MLP's place have no such node."""
    has = {each.site for each in model.sites()}
    found = [Node(Site("embed"))]
    for layer in range(model.n_layers):
        found += heads(model, layer) if Site("z", layer) in has else ()
        found += [Node(Site("mlp_out", layer))] if Site("mlp_out", layer) in has else []
    return tuple(found)


def turn(node: Node) -> tuple[tuple[float, int], int]:
    """When in a pass a node is reached: it grows."""
    return depth(node.site), 0 if node.columns is None else node.columns[0]


def check_nodes(model: Model, nodes: Iterable[Node]) -> None:
    """Raise BadInput for a node that the model does not have, one without a row for each position, and for none."""
    nodes = list(nodes)
    if not nodes:
        raise BadInput("No node was given: name at least one, as Node(Site('resid_post', 0)).")
    widths = {site: model.width(site) for site in {node.site for node in nodes}}
    for node in nodes:
        if node.columns is not None and node.columns[1] > widths[node.site]:
            raise BadInput(f"{node.site} has {widths[node.site]} columns; received {node}.")


def read_nodes(
    model: Model,
    tokens: Int[Tensor, "contexts context"],
    nodes: Iterable[Node],
    *,
    write: Mapping[Site, Write] = {},
    freeze: Frozen = NOTHING,
) -> dict[Node, Float[Tensor, "contexts context columns"]]:
    """What a pass has at each node."""
    nodes = list(nodes)
    got = model.run(tokens, read={node.site for node in nodes}, write=write, freeze=freeze)
    return {node: got[node.site][..., node.span] for node in nodes}


def write_nodes(
    values: Mapping[Node, Float[Tensor, "contexts context columns"]], *, positions: slice = EVERYWHERE
) -> dict[Site, Write]:
    """What writes each node's values at some positions, and leaves all else of its site as it is."""
    at: dict[Site, list[tuple[Node, Tensor]]] = {}
    for node, value in values.items():
        at.setdefault(node.site, []).append((node, value))
    return {site: partial(_write, parts, positions) for site, parts in at.items()}


def _write(parts: Sequence[tuple[Node, Tensor]], positions: slice, x: Tensor) -> Tensor:
    for node, value in parts:
        x[:, positions, node.span] = value[:, positions].to(x.dtype)
    return x
