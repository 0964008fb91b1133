"""TranscoderSet: a set gathered from folders, another tool's among them."""

import pytest
import torch
from any_model import PROMPT

from physalis.circuits import Tokens, TranscoderSet, trace
from physalis.dictionaries import L1, L1Config
from physalis.errors import BadInput
from physalis.exchange import convert
from physalis.models.tiny import tiny_model

pytestmark = pytest.mark.usefixtures("one_thread")


def _into_the_end(graph):
    parts = (graph.layer, graph.position, graph.feature, graph.edges[-1, : graph.n_features])
    return list(zip(*(part.tolist() for part in parts), strict=True))


def test_a_set_is_gathered_from_folders_of_its_layers(tmp_path):
    """Another tool's files and back: a set goes out as circuit-tracer's, comes in again, and is the same graph."""
    model = tiny_model()
    generator = torch.Generator().manual_seed(0)
    made = {}
    for layer in range(model.n_layers):
        made[layer] = L1(L1Config(d_in=model.d_model, d_out=model.d_model, n_features=40, k=5))
        for value in made[layer].parameters():
            value.data = torch.randn(value.shape, generator=generator) * 0.3
        made[layer].enc.refresh()
        made[layer].dec.refresh()
    ours = TranscoderSet.write(tmp_path / "ours", model, made)
    convert([ours.folder / f"L{i}" for i in ours], tmp_path / "theirs", to="circuit-tracer")
    found = convert(tmp_path / "theirs", tmp_path / "back", model=model)
    again = TranscoderSet.gather(tmp_path / "set", [each.folder for each in found])
    assert again.layers == ours.layers
    one, other = (trace(model, each, PROMPT, features=10_000, targets=Tokens((65,))) for each in (ours, again))
    # theirs leave the first position out; of the others each adds to the end what it added
    mine = {tuple(key): edge for *key, edge in _into_the_end(one)}
    for layer, at, feature, edge in _into_the_end(other):
        assert at > 0 and edge == pytest.approx(mine[layer, at, feature], abs=1e-4)
    assert other.n_active > 500
    assert TranscoderSet.gather(tmp_path / "set", [each.folder for each in found]).manifest == again.manifest
    with pytest.raises(BadInput, match="are both of layer 0"):
        TranscoderSet.gather(tmp_path / "twice", [ours.folder / "L0", found[0].folder])
    with pytest.raises(BadInput, match="at least one transcoder"):
        TranscoderSet.gather(tmp_path / "none", [])
