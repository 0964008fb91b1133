"""signed_effects: over all paths, with signs, against sums by hand."""

from dataclasses import replace

import pytest
import torch
from test_graph import by_hand

from physalis.circuits.supernodes import signed_effects
from physalis.errors import BadInput


def test_by_hand():
    """f (layer 0, code 4) adds 2 to the end itself and 6 of g's code 8; g (layer 1) adds -12 to the end."""
    edges = [[0, 0, 0, 0, 4], [6, 0, 0, 0, 2], [2, -12, 0, 0, 0]]
    graph = by_hand(edges, features=[0, 1], errors=2, layers=(0, 1))
    assert torch.allclose(signed_effects(graph), torch.tensor([2 - 12 * 6 / 8, -12.0]))


def test_codes_below_zero_turn_the_sign():
    edges = [[0, 0, 0, 0, -4], [6, 0, 0, 0, -8], [0, 3, 0, 0, 0]]
    graph = by_hand(edges, features=[0, 1], errors=2, layers=(0, 1))
    assert torch.allclose(signed_effects(graph), torch.tensor([3 * 6 / -2, 3.0]))


def test_a_graph_without_codes_is_refused():
    graph = by_hand([[0, 0, 2], [3, 1, -4]], features=[0])
    with pytest.raises(BadInput, match="codes are"):
        signed_effects(replace(graph, value=torch.tensor([torch.nan, 0.0])))
