"""patching: causal tools on sites: what parts of a model do to a metric, measured exactly or estimated by gradients.

A ``Node`` is a site or some of its columns, a metric one number of each context. ``patch_activations`` measures what a
node does, ``attribute_by_...`` estimate it, ``patch_paths`` tells by which way; ``attribute_edges`` scores the edges
between nodes, ``rank_by_...`` and ``prune`` find circuits, and ``measure_faithfulness`` and ``scrub`` say what a
circuit is worth.
"""

from physalis.patching.activation_patching import Effects, each_position, patch_activations
from physalis.patching.attribution_patching import (
    attribute_by_gradient,
    attribute_by_integrated_activations,
    attribute_by_integrated_gradients,
    attribute_by_relevance,
    gradients,
    relevances,
)
from physalis.patching.discovery import Pruned, prune, rank_by_magnitude, rank_by_score
from physalis.patching.edge_ablation import ablating_edges
from physalis.patching.edges import (
    Edge,
    EdgeScores,
    NodeGraph,
    attribute_edges,
    attribute_edges_by_integrated_gradients,
    attribute_edges_by_relevance,
)
from physalis.patching.faithfulness import Curve, measure_faithfulness
from physalis.patching.interchange import Algorithm, Interchange, interchange_values
from physalis.patching.metric import Along, LogitDifference, LogProbability, Metric, measure, measure_with_gradients
from physalis.patching.node_ablation import ablating_nodes
from physalis.patching.nodes import Node, graph_nodes, heads
from physalis.patching.path_patching import direct_effect, patch_paths
from physalis.patching.scrubbing import Scrubbed, all_different, scrub

__all__ = [
    "Algorithm", "Along", "Curve", "Edge", "EdgeScores", "Effects", "Interchange", "LogProbability",
    "LogitDifference", "Metric", "Node", "NodeGraph", "Pruned", "Scrubbed", "ablating_edges", "ablating_nodes",
    "all_different", "attribute_by_gradient", "attribute_by_integrated_activations",
    "attribute_by_integrated_gradients", "attribute_by_relevance", "attribute_edges",
    "attribute_edges_by_integrated_gradients", "attribute_edges_by_relevance", "direct_effect", "each_position",
    "gradients", "graph_nodes", "heads", "interchange_values", "measure", "measure_faithfulness",
    "measure_with_gradients", "patch_activations", "patch_paths", "prune", "rank_by_magnitude", "rank_by_score",
    "relevances", "scrub",
]  # fmt: skip
