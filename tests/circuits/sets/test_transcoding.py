"""transcode(): every layer's transcoder from one pass, each what it would be alone, the same after a kill."""

import pytest
import torch

from physalis import artifact
from physalis.activations import Pairs
from physalis.circuits import TranscoderSet, transcode
from physalis.circuits.sets.transcoder_set import folder_of
from physalis.dictionaries import TopKConfig
from physalis.errors import BadInput
from physalis.models.tiny import tiny_model
from physalis.recording import record
from physalis.recording.options import Reading
from physalis.site import Site
from physalis.training import checkpoints, training
from physalis.training.options import Training
from physalis.training.training import train

READING = Reading(tokens=6400, context=32, batch=8)
TRAINING = Training(epochs=2, batch_size=256, seed=3)
SIZE = dict(n_features=64, k=4, reading=READING, training=TRAINING, device="cpu")

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def made(text, tmp_path_factory):
    return transcode(tiny_model(), text, tmp_path_factory.mktemp("set") / "set", **SIZE)


def test_there_is_one_for_each_layer(made):
    model = tiny_model()
    assert list(made) == list(range(model.n_layers)) and len(made) == model.n_layers and model.n_layers not in made
    assert "3 layers of tiny" in repr(made)
    for layer in made:
        config = artifact.read(made.folder / folder_of(layer), "dictionary").config
        assert (config["site"], config["writes"]) == (f"L{layer}.mlp_in", f"L{layer}.mlp_out")
        assert made[layer] is made[layer] and made[layer].config.n_features == 64
    assert made.on(torch.device("cpu")) is made
    with pytest.raises(BadInput, match="layers 0, 1, 2; 7 is none"):
        made[7]


def test_each_is_what_a_recording_of_its_layer_makes_of_it(made, text, tmp_path):
    sites = [Site("mlp_in", 1), Site("mlp_out", 1)]
    folders = [tmp_path / str(site) for site in sites]
    record(tiny_model(), text, sites, folders, tokens=6400, context=32, batch=8)
    shape = TopKConfig(d_in=32, d_out=32, n_features=64, k=4)
    (alone,) = train(Pairs.open(folders[:1], folders[1:]), [shape], [tmp_path / "alone"], TRAINING, device="cpu")
    for name, value in alone.state_dict().items():
        assert torch.equal(value, made[1].state_dict()[name]), name


def test_they_predict_what_the_mlp_writes(made, text):
    """Better than its mean, on text that the set was not trained on."""
    model = tiny_model()
    tokens = torch.randint(0, 200, (8, 32), generator=torch.Generator().manual_seed(0))
    for layer in made:
        reads, writes = Site("mlp_in", layer), Site("mlp_out", layer)
        seen = model.run(tokens, read=[reads, writes])
        x, y = (seen[site].float().flatten(0, 1) for site in (reads, writes))
        with torch.no_grad():
            wrong = (made[layer](x) - y).square().sum()
        assert wrong < (y - y.mean(0)).square().sum()


def test_stopped_and_run_again_it_is_the_same(made, text, tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoints, "FIRST_S", 0.0)
    monkeypatch.setattr(checkpoints, "EVERY_S", 0.0)
    taken, descend = [], training.Run.descend

    def stops(run, *args):
        if len(taken) == 50:
            raise KeyboardInterrupt
        taken.append(run)
        return descend(run, *args)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(training.Run, "descend", stops)
        transcode(tiny_model(), text, tmp_path / "set", **SIZE)
    again = transcode(tiny_model(), text, tmp_path / "set", **SIZE)
    assert len(taken) == 50 and again.manifest.inputs == made.manifest.inputs


def test_some_layers_with_a_path_beside(text, tmp_path):
    found = transcode(tiny_model(), text, tmp_path / "set", layers=[2, 0], skip=True, **SIZE)
    assert found.layers == (0, 2) and found[2].config.skip
    again = TranscoderSet.open(tmp_path / "set")
    assert again.manifest.hash == found.manifest.hash


def test_refusals_are_sentences(made, text, tmp_path):
    for layers in ([3], [-1], []):
        with pytest.raises(BadInput, match="has layers 0 to 2"):
            transcode(tiny_model(), text, tmp_path / "set", layers=layers, **SIZE)
    for name in ("crosscoder", "crosslayer", "matchingpursuit"):
        with pytest.raises(BadInput, match="Choose topk"):
            transcode(tiny_model(), text, tmp_path / "set", architecture=name, **SIZE)
    assert not (tmp_path / "set").exists()
    with pytest.raises(BadInput):
        transcode(tiny_model(), text, made.folder, **{**SIZE, "k": 5})
    with pytest.raises(BadInput):
        TranscoderSet.open(tmp_path)
