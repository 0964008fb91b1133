"""Training: one loop for a list, the same bytes after a stop, bad input in sentences."""

import hashlib
import json

import pytest
import torch

from physalis import artifact, dictionaries, training
from physalis.dictionaries import BatchTopKConfig, TopKConfig
from physalis.errors import BadInput
from physalis.training import Schedule, train

OPTIONS = dict(batch_size=512, epochs=2)


def shape(acts, **more):
    return dict(d_in=acts.d, d_out=acts.d, n_features=3 * acts.d, k=4) | more


def contents(folder):
    files = (p for p in folder.rglob("*") if p.is_file() and p.name != artifact.LOCK)
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def test_it_learns(tiny_activations, tiny_dictionary):
    rows = [json.loads(line) for line in (tiny_dictionary / training.METRICS).read_text().splitlines()]
    assert rows[-1]["fvu"] < 0.5 * rows[0]["fvu"] or rows[-1]["fvu"] < 0.2
    manifest = artifact.read(tiny_dictionary, "dictionary")
    assert manifest.facts["last"] == rows[-1]
    assert manifest.inputs["activations"] == tiny_activations.manifest.hash


def test_the_stored_dictionary_reads_raw_activations(tiny_activations, tiny_dictionary):
    d = dictionaries.load(tiny_dictionary)
    part = next(tiny_activations.held_out.ordered(512))
    x = part.x.float()
    fvu = (x - d.decode(d.encode(x))).square().sum() / (x - tiny_activations.mean).square().sum()
    assert fvu < 0.5


def test_a_list_gives_what_each_alone_gives(tiny_activations, tmp_path):
    acts = tiny_activations
    configs = [TopKConfig(**shape(acts)), BatchTopKConfig(**shape(acts)), TopKConfig(**shape(acts, n_features=600))]
    together = [tmp_path / f"together-{i}" for i in range(3)]
    train(acts, configs, together, **OPTIONS)
    for i, config in enumerate(configs):
        train(acts, [config], [tmp_path / f"alone-{i}"], **OPTIONS)
        assert contents(together[i]) == contents(tmp_path / f"alone-{i}")


def test_a_run_that_stopped_goes_on_to_the_same_bytes(tiny_activations, tmp_path, monkeypatch):
    acts, config = tiny_activations, TopKConfig(**shape(tiny_activations))
    train(acts, [config], [tmp_path / "whole"], **OPTIONS)
    monkeypatch.setattr(training, "CHECKPOINT_EVERY_S", -1.0)
    steps = []

    class Stop(Exception):
        pass

    descend = training.Run.descend

    def stopping(self, batch, step, *rest):
        steps.append(step)
        if len(steps) in (8, 20):
            raise Stop
        return descend(self, batch, step, *rest)

    monkeypatch.setattr(training.Run, "descend", stopping)
    for _ in range(2):
        with pytest.raises(Stop):
            train(acts, [config], [tmp_path / "broken"], **OPTIONS)
    train(acts, [config], [tmp_path / "broken"], **OPTIONS)
    total = artifact.read(tmp_path / "whole", "dictionary").config["training"]["steps"]
    assert len(steps) == total + 2, "steps that a checkpoint held were done again"
    assert contents(tmp_path / "whole") == contents(tmp_path / "broken")


def test_a_finished_folder_is_only_opened(tiny_activations, tmp_path, monkeypatch):
    config = TopKConfig(**shape(tiny_activations))
    first = train(tiny_activations, [config], [tmp_path / "d"], **OPTIONS)[0]
    monkeypatch.setattr(training.Run, "descend", None)
    again = train(tiny_activations, [config], [tmp_path / "d"], **OPTIONS)[0]
    assert torch.equal(first.W_dec, again.W_dec)


def test_frozen_directions_are_worse(tiny_activations, tiny_dictionary, tmp_path):
    config = dictionaries.load(tiny_dictionary).config
    train(tiny_activations, [config], [tmp_path / "frozen"], batch_size=512, frozen="dec")
    frozen, learnt = (
        artifact.read(f, "dictionary").facts["last"]["fvu"] for f in (tmp_path / "frozen", tiny_dictionary)
    )
    assert frozen > learnt


def test_the_schedule_rises_stays_and_falls():
    rate = Schedule(lr=1.0, warmup=10, decay=0.5, steps=100)
    assert rate(0) == 0.1 and rate(9) == rate(40) == 1.0
    assert rate(75) == 0.5 and 0 < rate(99) < 0.03


def test_divergence_is_said(tiny_activations, tmp_path):
    config = TopKConfig(**shape(tiny_activations))
    with pytest.raises(BadInput, match="Training diverged at step .* Lower --lr"):
        train(tiny_activations, [config], [tmp_path / "d"], batch_size=512, epochs=1, lr=1e9)


def test_bad_input_is_a_sentence(tiny_activations, tmp_path):
    acts = tiny_activations
    with pytest.raises(BadInput, match="fewer than one batch of 1,000,000"):
        train(acts, [TopKConfig(**shape(acts))], [tmp_path / "a"], batch_size=1_000_000)
    with pytest.raises(BadInput, match="The activations have width"):
        train(acts, [TopKConfig(**shape(acts, d_in=3, d_out=3))], [tmp_path / "b"])
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "thesis.doc").write_text("mine")
    with pytest.raises(BadInput, match="holds something else .thesis.doc"):
        train(acts, [TopKConfig(**shape(acts))], [tmp_path / "c"])
    train(acts, [TopKConfig(**shape(acts))], [tmp_path / "d"], **OPTIONS)
    with pytest.raises(BadInput, match="already holds another job: dictionary was"):
        train(acts, [TopKConfig(**shape(acts, k=5))], [tmp_path / "d"], **OPTIONS)
