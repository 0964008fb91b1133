"""Every verb on a second device: no tensor is forgotten on the CPU, and the numbers are the CPU's."""

import json

import numpy as np
import pytest
import torch
from pretended import CARD, card, on_card

from physalis import artifact, dictionaries, evaluation, steering
from physalis.activations import Pairs
from physalis.atlas.build.building import build_atlas
from physalis.comparing.comparison import compare
from physalis.dead_features import explain_dead_features
from physalis.dictionaries import TopKConfig
from physalis.errors import BadInput
from physalis.lab.fitting import Rows, fit_dictionary
from physalis.models import load_model
from physalis.models.generation import Sampler
from physalis.placement.encoding import encoded
from physalis.recording import record
from physalis.recording.streaming import stream
from physalis.runtime import device
from physalis.site import Site
from physalis.steering import dose_response
from physalis.sweeping.sweeping import sweep
from physalis.training import checkpoints, training
from physalis.training.finetuning import ce, finetune
from physalis.training.training import train
from physalis.types import Batch

pytestmark = pytest.mark.filterwarnings("ignore:Sparse")
OPTIONS = dict(batch_size=1024, epochs=1)
ACROSS = [kind for kind in dictionaries.ARCHITECTURES if kind.__name__ not in ("MatchingPursuit", "ListaMatryoshka")]
"""Those that can predict something else than they read."""


@pytest.fixture(scope="module")
def pairs(tiny, tiny_text, tmp_path_factory):
    root = tmp_path_factory.mktemp("card")
    sites = [Site("mlp_in", 1), Site("mlp_out", 1)]
    record(tiny, str(tiny_text), sites, [root / "in", root / "out"], tokens=6_000, context=32, shard_rows=2048)
    return Pairs.open([root / "in"], [root / "out"])


def shape(source, **more):
    return dict(d_in=source.d_in, d_out=source.d_out, n_features=96, k=4) | more


def fvu(dictionary, source):
    """On held-out rows, wherever the dictionary is."""
    left = total = 0.0
    for x, y, _, codes in encoded(dictionary, source.held_out):
        left += float((y - dictionary.rebuild(x, codes)).square().sum())
        total += float((y - source.frame.mean_out.to(y.device)).square().sum())
    return left / total


def trains_on_the_card(source, config, tmp_path, monkeypatch):
    [here] = train(source, [config], [tmp_path / "here"], **OPTIONS, device="cpu")
    wanted = fvu(here, source)
    with card(monkeypatch):
        [there] = train(source, [config], [tmp_path / "there"], **OPTIONS)
        assert on_card(*there.parameters(), *there.buffers())
        assert fvu(there, source) == pytest.approx(wanted, rel=0.1)
    [back] = train(source, [config], [tmp_path / "there"], **OPTIONS, device="cpu")
    assert fvu(back, source) == pytest.approx(wanted, rel=0.1), "what was trained there is read here"


@pytest.mark.parametrize("kind", ["topk", "crosslayer"])
def test_what_is_moved_with_a_module_around_it_is_moved_whole(kind, monkeypatch):
    own = dict(layers=2) if kind == "crosslayer" else {}
    d = dictionaries.make(kind, dict(d_in=32, d_out=32, n_features=96, k=4) | own)
    x = torch.randn(20, 32, generator=torch.Generator().manual_seed(0))
    d.start(Batch(x, x), seed=0)
    d.compute_in(torch.bfloat16)
    with torch.no_grad(), card(monkeypatch):
        torch.nn.Sequential(d).to(CARD)
        assert on_card(d.encode(x.to(CARD)).values)


@pytest.mark.parametrize("kind", dictionaries.ARCHITECTURES)
def test_autoencoders_train_there(kind, tiny_activations, tmp_path, monkeypatch):
    config = dictionaries.make(kind.__name__, shape(tiny_activations)).config
    trains_on_the_card(tiny_activations, config, tmp_path, monkeypatch)


@pytest.mark.parametrize("kind", ACROSS)
@pytest.mark.parametrize("skip", [False, True])
def test_transcoders_train_there(kind, skip, pairs, tmp_path, monkeypatch):
    if skip and kind is dictionaries.CrossLayer:
        pytest.skip("it has no skip path")
    config = dictionaries.make(kind.__name__, shape(pairs, skip=skip)).config
    trains_on_the_card(pairs, config, tmp_path, monkeypatch)


@pytest.mark.parametrize("frozen", ["dec", "enc"])
def test_frozen_baselines_train_there(frozen, tiny_activations, tmp_path, monkeypatch):
    config = TopKConfig(**shape(tiny_activations))
    with card(monkeypatch):
        [made] = train(tiny_activations, [config], [tmp_path / "d"], **OPTIONS, frozen=frozen)
        assert on_card(*made.parameters())


@pytest.mark.parametrize("kind", dictionaries.ARCHITECTURES)
def test_directions_are_where_the_dictionary_is(kind, tiny_activations, monkeypatch):
    made = dictionaries.make(kind.__name__, shape(tiny_activations))
    with card(monkeypatch):
        made.to(CARD)
        ids = torch.arange(5, device=CARD)
        x = torch.ones(3, tiny_activations.d, device=CARD)
        assert on_card(made.reads(ids), made.writes(ids), made.gain(x), *made.encode(x))


def test_what_the_lab_fits_is_where_its_samples_are(monkeypatch):
    x = np.random.default_rng(0).normal(size=(2048, 16)).astype(np.float32)
    with card(monkeypatch):
        made = fit_dictionary(Rows(x), "topk", n_features=32, k=4, batch_size=256)
        assert not on_card(*made.parameters()) and made.encode(torch.from_numpy(x)).ids.shape == (2048, 4)


class Stop(Exception):
    pass


def stopping(monkeypatch, at):
    """Training stops at the so-manieth steps, counted over all runs; the steps that were begun."""
    steps, descend = [], training.Run.descend

    def descend_(self, batch, step, *rest):
        steps.append(step)
        if len(steps) in at:
            raise Stop
        return descend(self, batch, step, *rest)

    monkeypatch.setattr(training.Run, "descend", descend_)
    return steps


def test_a_run_that_stopped_goes_on_to_the_same_bytes_there(tiny_activations, tmp_path, monkeypatch):
    config = dictionaries.JumpReLUConfig(**shape(tiny_activations))
    with card(monkeypatch):
        train(tiny_activations, [config], [tmp_path / "whole"], **OPTIONS)
        monkeypatch.setattr(checkpoints, "EVERY_S", -1.0)
        steps = stopping(monkeypatch, at=[8])
        with pytest.raises(Stop):
            train(tiny_activations, [config], [tmp_path / "broken"], **OPTIONS)
        train(tiny_activations, [config], [tmp_path / "broken"], **OPTIONS)
    whole, broken = (artifact.read(tmp_path / name, "dictionary") for name in ("whole", "broken"))
    assert whole == broken and len(steps) == whole.config["training"]["steps"] + 1


def test_a_run_goes_on_elsewhere(tiny_activations, tmp_path, monkeypatch):
    """The job is the same: what was begun on a card need not end there."""
    config = TopKConfig(**shape(tiny_activations))
    monkeypatch.setattr(checkpoints, "EVERY_S", -1.0)
    steps = stopping(monkeypatch, at=[8])
    with card(monkeypatch), pytest.raises(Stop):
        train(tiny_activations, [config], [tmp_path / "d"], **OPTIONS)
    [made] = train(tiny_activations, [config], [tmp_path / "d"], **OPTIONS, device="cpu")
    assert steps[8] == 7 and not on_card(*made.parameters())


def test_the_next_batch_is_copied_while_one_is_computed_with(monkeypatch):
    said = []

    def rows():
        for i in range(3):
            said.append(f"read {i}")
            x = torch.full((2, 2), float(i))
            yield Batch(x, x)

    with card(monkeypatch):
        for i, batch in enumerate(device.moved(rows(), CARD)):
            said.append(f"use {i}")
            assert on_card(batch.x) and batch.y is batch.x and int(batch.x[0, 0]) == i
    assert said == ["read 0", "read 1", "use 0", "read 2", "use 1", "use 2"]


def test_a_device_that_is_not_there_is_a_sentence(tiny_activations, tmp_path):
    for name in ("cuda:7", "gpu"):
        with pytest.raises(BadInput, match=f"This machine has no device '{name}'. It has: .*cpu"):
            train(tiny_activations, [TopKConfig(**shape(tiny_activations))], [tmp_path / "d"], device=name)


def record_it(model, there, text):
    [made] = record(model, text, [Site("resid_post", 1)], [there / "recorded"], tokens=4_000, context=32)
    return made.n_tokens


def stream_it(model, there, text):
    source = stream(model, text, [Site("mlp_in", 1)], writes=[Site("mlp_out", 1)], tokens=4_000, context=32)
    train(source, [TopKConfig(**shape(source))], [there / "streamed"], **OPTIONS)
    return artifact.read(there / "streamed", "dictionary").facts["last"]["fvu"]


@pytest.mark.parametrize("verb", [record_it, stream_it])
def test_what_runs_a_model_on_text(verb, tiny_text, tmp_path, monkeypatch):
    wanted = verb(load_model("tiny", device="cpu"), tmp_path / "here", str(tiny_text))
    with card(monkeypatch):
        found = verb(load_model("tiny"), tmp_path / "there", str(tiny_text))
    assert found == pytest.approx(wanted, rel=0.05)


def finetune_it(model, acts, dictionary, there):
    made = finetune(dictionary, acts, model, out=there / "tuned", tokens=2_000, objective=ce)
    assert made.b_dec.device.type == model.device.type
    return artifact.read(there / "tuned", "dictionary").facts["finetuned"]["ce"]


def evaluate_it(model, acts, dictionary, there):
    found = evaluation.evaluate(dictionary, acts.folder, model, out=there / "evaluation", splice_tokens=320)
    return [found.facts["metrics"][name]["value"] for name in ("fvu", "l0", "ce_increase")]


def steer_it(model, acts, dictionary, there):
    bound = steering.Steering.open(dictionary, model, [steering.parse_edit("add:3:5")])
    prompt = steering.completion(model, "alpha beta gamma")
    steps = list(steering.steer(model, prompt, bound, sampler=Sampler(seed=0), n=4))
    return float(len(steps))


def doses_it(model, acts, dictionary, there):
    found = dose_response(dictionary, acts.folder, model, 3, tokens=200, strengths=(1.0, 2.0))
    return json.dumps(found.to_dict() if hasattr(found, "to_dict") else found.model_dump())[:1]


def build_it(model, acts, dictionary, there):
    made = build_atlas(dictionary, acts.folder, model, there / "atlas", causes=2)
    return made.summary().metrics["fvu"].value


@pytest.mark.parametrize("verb", [finetune_it, evaluate_it, steer_it, doses_it, build_it])
def test_what_needs_a_model(verb, tiny_activations, tiny_dictionary, tmp_path, monkeypatch):
    wanted = verb(load_model("tiny", device="cpu"), tiny_activations, tiny_dictionary, tmp_path / "here")
    with card(monkeypatch):
        found = verb(load_model("tiny"), tiny_activations, tiny_dictionary, tmp_path / "there")
    assert found == pytest.approx(wanted, rel=0.02) if not isinstance(wanted, str) else found == wanted


def compare_them(acts, dictionaries_, there):
    found = compare(*dictionaries_[:2], acts.folder, out=there / "compared").summary
    return [found.directions.share_a.value, found.codes.share_a.value]


def explain_it(acts, dictionaries_, there):
    return explain_dead_features(dictionaries_[0], acts, tokens=2_000, steps=3).n_dead


def sweep_them(acts, dictionaries_, there):
    found = sweep(acts, there / "swept", architectures=["topk"], ks=[4], widths=[64], batch_size=1024)
    return [found.points[0].fvu["value"], found.baselines[0].fvu["value"]]


@pytest.mark.parametrize("verb", [compare_them, explain_it, sweep_them])
def test_what_needs_none(verb, widths, tiny_activations, tmp_path, monkeypatch):
    wanted = verb(tiny_activations, widths, tmp_path / "here")
    with card(monkeypatch):
        found = verb(tiny_activations, widths, tmp_path / "there")
    assert found == pytest.approx(wanted, rel=0.05)
