"""names: Names, what atlases know of a graph's features. A graph says by which dictionary it read each layer, and an
atlas of which dictionary it is."""

from collections.abc import Mapping, Sequence

from physalis.atlas import Atlas
from physalis.atlas.records import Example, Feature
from physalis.errors import BadInput
from physalis.naming import Known
from physalis.web.graphs.records import Asked, GraphPage, NodeFeature
from physalis.web.graphs.stored import StoredGraph

EXAMPLES = 5
"""Of a feature, the strongest."""
TOKENS = 8
"""That it promotes, the first."""

Served = tuple[Atlas, str]
"""An atlas, and the prefix of its pages."""


class Names:
    """What is known of the features of some layers."""

    def __init__(self, atlases: Mapping[int, Served]) -> None:
        """``atlases`` by the layer whose features they are of."""
        self._atlases = {
            layer: (atlas.with_annex(Known(atlas).annex), prefix) for layer, (atlas, prefix) in atlases.items()
        }

    @classmethod
    def of(cls, graph: StoredGraph, atlases: Sequence[Served], sets: Mapping[str, Mapping[str, str]] = {}) -> "Names":
        """Those of ``atlases`` whose dictionaries the graph was traced by. ``sets`` are the inputs of sets of
        transcoders, by their hashes: a graph names its set, and that the dictionary of each layer."""
        own = graph.manifest.inputs
        dictionaries = {**sets.get(own.get("transcoders", ""), {}), **own}
        by_hash = {atlas.manifest.inputs.get("dictionary"): (atlas, prefix) for atlas, prefix in atlases}
        found = {layer: by_hash.get(dictionaries.get(f"L{layer}", "")) for layer in graph.said.layers}
        return cls({layer: served for layer, served in found.items() if served is not None})

    def put_into(self, page: GraphPage) -> GraphPage:
        """A page with the names of its features."""
        nodes = page.nodes
        names = [*nodes.name]
        for layer, (atlas, _) in self._atlases.items():
            here = [i for i, kind in enumerate(nodes.kind) if kind == "feature" and nodes.layer[i] == layer]
            ids = list(dict.fromkeys(id for i in here if (id := nodes.feature[i]) < len(atlas)))
            called = {row.id: row.headline for row in atlas.rows(ids)}
            for i in here:
                names[i] = called.get(nodes.feature[i], "")
        return page.model_copy(update={"nodes": nodes.model_copy(update={"name": names})})

    def feature(self, asked: Asked) -> NodeFeature:
        """What is known of one feature. Raises BadInput where there is no atlas of its layer, or no such feature."""
        if asked.layer not in self._atlases:
            known = ", ".join(map(str, self._atlases)) or "none"
            raise BadInput(f"There is no atlas of layer {asked.layer} here; of these there are: {known}.")
        atlas, prefix = self._atlases[asked.layer]
        found: Feature = atlas[asked.feature]
        return NodeFeature(
            headline=found.headline, rule=found.rule, density=found.density, max_code=found.max_code,
            promoted=found.promoted[:TOKENS], examples=_strongest(found)[:EXAMPLES],
            page=f"{prefix}/features/{asked.feature}",
        )  # fmt: skip


def _strongest(feature: Feature) -> list[Example]:
    each = [example for group in feature.groups for example in group.examples]
    return sorted(each, key=lambda example: -example.codes[example.position])
