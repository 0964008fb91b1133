"""measure_replacement(): what a layer's transcoder costs alone and with all others, on text that was held out."""

import numpy as np
import pytest
import torch

from physalis.circuits import measure_replacement, transcode
from physalis.circuits.sets.replacement import LINEAR, MEAN, OWN, RANDOM
from physalis.circuits.sets.transcoding import text_of
from physalis.errors import BadInput
from physalis.models.tiny import tiny_model
from physalis.recording.options import Reading
from physalis.site import Site
from physalis.training.options import Training

pytestmark = pytest.mark.usefixtures("one_thread")
READING, TRAINING = Reading(tokens=6400, context=32, batch=8), Training(epochs=2, batch_size=256)


@pytest.fixture(scope="module")
def made(text, tmp_path_factory):
    out = tmp_path_factory.mktemp("set") / "set"
    return transcode(tiny_model(), text, out, n_features=64, k=4, reading=READING, training=TRAINING, device="cpu")


@pytest.fixture(scope="module")
def found(made, text):
    return measure_replacement(tiny_model(), made, text, tokens=320)


def losses(model, tokens, documents, replaced):
    """Nats on each next token of the same document where these layers' MLPs are their transcoders, but at BOS."""

    def writes():
        seen = {}

        def look(site):
            return lambda x: seen.setdefault(site, x)

        def put(layer, dictionary):
            def write(x):
                y = dictionary(seen[Site("mlp_in", layer)])
                return torch.cat([x[:, :1], y[:, 1:]], 1)

            return write

        out = {}
        for layer, dictionary in replaced.items():
            out[Site("mlp_in", layer)], out[Site("mlp_out", layer)] = (
                look(Site("mlp_in", layer)),
                put(layer, dictionary),
            )
        return out

    logits = model.run(tokens, read=[Site("logits")], write=writes())[Site("logits")][:, :-1]
    nll = -logits.log_softmax(-1).gather(-1, tokens[:, 1:, None])[..., 0]
    return float(nll[documents[:, 1:] == documents[:, :-1]].mean())


def test_losses_are_those_of_the_model_written_by_hand(made, found, text):
    model = tiny_model()
    held = text_of(model, made, text).held_out_text
    order = torch.randperm(len(held.ids), generator=torch.Generator().manual_seed(0)).numpy()[:10]
    tokens, documents = (torch.from_numpy(part[order].astype(np.int64)) for part in (held.ids, held.documents))
    own = losses(model, tokens, documents, {})
    assert found.tokens == 320 and found.loss["value"] == pytest.approx(own, abs=1e-5)
    for layer in found.layers:
        alone = losses(model, tokens, documents, {layer.layer: made[layer.layer]}) - own
        assert layer.loss_added["value"] == pytest.approx(alone, abs=1e-5)
    together = losses(model, tokens, documents, {layer: made[layer] for layer in made}) - own
    assert found.together[OWN]["value"] == pytest.approx(together, abs=1e-5)


def test_it_is_held_beside_baselines(found):
    assert [layer.layer for layer in found.layers] == [0, 1, 2] and set(found.together) == {OWN, LINEAR, RANDOM, MEAN}
    for layer in found.layers:
        assert layer.fvu["value"] < layer.fvu_linear["value"] < 1 and layer.fvu["value"] < layer.fvu_random["value"]
        assert 0 < layer.l0["value"] <= 4 and 0 <= layer.dead < 1
    assert found.record()["layers"][0]["fvu"]["value"] == found.layers[0].fvu["value"]


def test_other_text_is_refused(made, tmp_path):
    (tmp_path / "other.txt").write_text("something else altogether\n" * 2000)
    with pytest.raises(BadInput, match="not the text that the set was trained on"):
        measure_replacement(tiny_model(), made, str(tmp_path / "other.txt"))
