"""Training: one loop for a list, the same bytes after a stop, bad input in sentences."""

import hashlib
import importlib
import json
from dataclasses import replace

import pytest
import torch

from physalis import artifact, dictionaries
from physalis.cli.arguments.sources import config_for
from physalis.dictionaries import BatchTopK, BatchTopKConfig, ListaMatryoshkaConfig, TopKConfig
from physalis.errors import BadInput
from physalis.training import Training, checkpoints, training
from physalis.training.training import Schedule, train
from physalis.types import Batch

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


def test_as_many_features_as_asked_fire_on_text_that_was_not_trained_on(tiny_activations, tmp_path, monkeypatch):
    """After a run so short that the running mean of thresholds is still far from where batches are cut."""
    held, seen = tiny_activations.held_out, []
    monkeypatch.setattr(training, "FINISH_ROWS", held.n_tokens // 2)
    finish = BatchTopK.finish
    monkeypatch.setattr(BatchTopK, "finish", lambda self, sample: (seen.append(sample.x), finish(self, sample))[1])
    config = BatchTopKConfig(**shape(tiny_activations))
    made = train(tiny_activations, [config], [tmp_path / "d"], batch_size=512, epochs=4)[0]
    x = torch.cat([part.x for part in held.ordered(512)])
    framed = tiny_activations.frame.apply(Batch(x, x)).x
    assert len(seen[0]) >= 512 and torch.cdist(seen[0], framed).amin(1).max() < 0.05
    l0 = float((made.encode(x.float()).values > 0).sum()) / len(x)
    assert l0 == pytest.approx(config.k, rel=0.05)


def test_a_list_gives_what_each_alone_gives(tiny_activations, tmp_path):
    acts = tiny_activations
    configs = [TopKConfig(**shape(acts)), BatchTopKConfig(**shape(acts)), TopKConfig(**shape(acts, n_features=600))]
    together = [tmp_path / f"together-{i}" for i in range(3)]
    train(acts, configs, together, **OPTIONS)
    for i, config in enumerate(configs):
        train(acts, [config], [tmp_path / f"alone-{i}"], **OPTIONS)
        assert contents(together[i]) == contents(tmp_path / f"alone-{i}")


class Stop(Exception):
    pass


@pytest.mark.parametrize("kind", dictionaries.ARCHITECTURES)
def test_a_run_that_stopped_goes_on_to_the_same_bytes(kind, tiny_activations, tmp_path, monkeypatch):
    acts = tiny_activations
    config = dictionaries.make(kind.__name__, shape(acts)).config
    train(acts, [config], [tmp_path / "whole"], **OPTIONS)
    monkeypatch.setattr(checkpoints, "EVERY_S", -1.0)
    steps = []
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


def test_a_run_killed_after_its_last_checkpoint_ends_with_the_same_bytes(tiny_activations, tmp_path, monkeypatch):
    """No step is left, and yet the manifest says what the last one gave."""
    configs = [TopKConfig(**shape(tiny_activations)), BatchTopKConfig(**shape(tiny_activations))]
    whole, broken = ([tmp_path / f"{name} {i}" for i in range(2)] for name in ("whole", "broken"))
    train(tiny_activations, configs, whole, **OPTIONS)
    steps = artifact.read(whole[0], "dictionary").config["training"]["steps"]
    monkeypatch.setattr(checkpoints, "EVERY_S", -1.0)
    keep, kept = checkpoints.Checkpoint.keep, []

    def killed(self, state):
        keep(self, state)
        kept.append(state)
        if len(kept) == steps:
            raise Stop

    monkeypatch.setattr(checkpoints.Checkpoint, "keep", killed)
    with pytest.raises(Stop):
        train(tiny_activations, configs, broken, **OPTIONS)
    monkeypatch.setattr(training.Run, "descend", None)
    train(tiny_activations, configs, broken, **OPTIONS)
    assert artifact.read(broken[1], "dictionary").facts["last"]["step"] == steps - 1
    assert list(map(contents, whole)) == list(map(contents, broken))


@pytest.mark.parametrize("kind", [dictionaries.TopK, dictionaries.L1])
def test_a_batch_that_does_not_fit_goes_through_in_pieces(kind, tiny_activations, tmp_path, monkeypatch):
    """TopK's loss is a mean over tokens, so the steps are the same; L1's controller sees each piece's own L0."""
    acts = tiny_activations
    config = dictionaries.make(kind.__name__, shape(acts)).config
    train(acts, [config], [tmp_path / "whole"], **OPTIONS, lr=1e-3)
    loss, refused = kind.loss, []

    def cramped(self, batch, tick):
        if len(batch.x) > 200:
            refused.append(len(batch.x))
            raise torch.OutOfMemoryError("CUDA out of memory")
        return loss(self, batch, tick)

    monkeypatch.setattr(kind, "loss", cramped)
    train(acts, [config], [tmp_path / "pieces"], **OPTIONS, lr=1e-3)
    assert refused == [512, 256], "found once, then kept"
    last = {name: artifact.read(tmp_path / name, "dictionary").facts["last"] for name in ("whole", "pieces")}
    assert last["pieces"]["pieces"] == 4 and "pieces" not in last["whole"]
    assert last["pieces"]["fvu"] == pytest.approx(last["whole"]["fvu"], rel=1e-3 if kind is dictionaries.TopK else 0.1)


def test_another_error_is_no_lack_of_memory(tiny_activations, tmp_path, monkeypatch):
    def broken(self, batch, tick):
        raise RuntimeError("shapes differ")

    monkeypatch.setattr(dictionaries.TopK, "loss", broken)
    with pytest.raises(RuntimeError, match="shapes differ"):
        train(tiny_activations, [TopKConfig(**shape(tiny_activations))], [tmp_path / "d"], **OPTIONS)


TOY = '''
"""The largest two of every ten features fire."""
from dataclasses import dataclass
from typing import final

from physalis.dictionaries.kernels import candidates, rows
from physalis.dictionaries.base import Loss, Shape
from physalis.dictionaries.linear import Linear


@dataclass(frozen=True, kw_only=True)
class ToyConfig(Shape):
    k: int = 4


@final
class Toy(Linear):
    def __init__(self, config: ToyConfig) -> None:
        super().__init__()
        self.config = config
        self._make(config)

    def choose(self, x):
        return candidates.top(x, self.enc, self.b_enc, self.config.k)

    def loss(self, batch, tick):
        codes = rows.differentiable(batch.x, self.enc, self.b_enc, self.choose(batch.x))
        return Loss({"fvu": (self.predict(batch.x, codes) - batch.y).square().mean()}, codes)
'''


def test_a_new_architecture_is_one_file_and_one_word(tiny_activations, tmp_path, monkeypatch):
    (tmp_path / "toy.py").write_text(TOY)
    monkeypatch.syspath_prepend(tmp_path)
    toy = importlib.import_module("toy")
    monkeypatch.setattr(dictionaries, "ARCHITECTURES", (*dictionaries.ARCHITECTURES, toy.Toy))
    out = tmp_path / "d"
    config = config_for(tiny_activations, "96", architecture="toy", k=4)
    train(tiny_activations, [config], [out], batch_size=512, epochs=1)
    assert artifact.read(out, "dictionary").config["architecture"] == "Toy"
    x = next(tiny_activations.held_out.ordered(512)).x.float()
    trained = dictionaries.load(out)
    assert type(trained) is toy.Toy
    y = trained.rebuild(x, trained.encode(x))
    assert (x - y).square().sum() < 0.7 * (x - tiny_activations.mean).square().sum()


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


def test_each_architecture_learns_at_its_own_pace(tiny_activations, tmp_path):
    names = [tmp_path / "topk", tmp_path / "lista"]
    configs = [TopKConfig(**shape(tiny_activations)), ListaMatryoshkaConfig(**shape(tiny_activations))]
    train(tiny_activations, configs, names, **OPTIONS)
    usual, fast = (artifact.read(name, "dictionary").config["training"]["lr"] for name in names)
    assert usual == training.learning_rate(tiny_activations.d) and fast == pytest.approx(1.6 * usual)


def test_options_are_keywords_or_a_record(tiny_activations, tmp_path):
    config = TopKConfig(**shape(tiny_activations))
    train(tiny_activations, [config], [tmp_path / "keywords"], **OPTIONS, seed=3)
    asked = Training(**OPTIONS, seed=4)
    train(tiny_activations, [config], [tmp_path / "record"], asked, seed=3)
    assert contents(tmp_path / "keywords") == contents(tmp_path / "record")
    said = artifact.read(tmp_path / "record", "dictionary").config["training"]
    settled = {name: said[name] for name in ("lr", "warmup", "dead_after")}
    assert said == replace(asked, seed=3, **settled).said(said["steps"])
    with pytest.raises(TypeError, match="epoch"):
        train(tiny_activations, [config], [tmp_path / "other"], epoch=1)
    for wrong, said in (
        ({"warmup": -1}, "warmup is at least 0"),
        ({"decay": 2.0}, "from 0 to 1"),
        ({"seed": -1}, "seed"),
    ):
        with pytest.raises(BadInput, match=said):
            Training(**wrong)
    with pytest.raises(BadInput, match="epochs is at least 1; received 0"):
        Training(batch_size=512, epochs=0)


def test_divergence_is_said(tiny_activations, tmp_path):
    config = TopKConfig(**shape(tiny_activations))
    with pytest.raises(BadInput, match="Training diverged at step .* Lower --lr"):
        train(tiny_activations, [config], [tmp_path / "d"], batch_size=512, epochs=1, lr=1e9)


def test_bad_input_is_a_sentence(tiny_activations, tmp_path):
    acts = tiny_activations
    with pytest.raises(BadInput, match="fewer than one batch of 1,000,000"):
        train(acts, [TopKConfig(**shape(acts))], [tmp_path / "a"], batch_size=1_000_000)
    with pytest.raises(BadInput, match="layer_norm is for dictionaries converted"):
        train(acts, [TopKConfig(**shape(acts, layer_norm=True))], [tmp_path / "b"])
    with pytest.raises(BadInput, match="The activations have width"):
        train(acts, [TopKConfig(**shape(acts, d_in=3, d_out=3))], [tmp_path / "b"])
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "thesis.doc").write_text("mine")
    with pytest.raises(BadInput, match="holds something else .thesis.doc"):
        train(acts, [TopKConfig(**shape(acts))], [tmp_path / "c"])
    train(acts, [TopKConfig(**shape(acts))], [tmp_path / "d"], **OPTIONS)
    with pytest.raises(BadInput, match="already holds another job: dictionary k was 4, now 5"):
        train(acts, [TopKConfig(**shape(acts, k=5))], [tmp_path / "d"], **OPTIONS)


def test_random_directions_that_are_kept_are_not_resampled(tiny_activations, tmp_path):
    config = dictionaries.L1ResampledConfig(
        d_in=tiny_activations.d_in, d_out=tiny_activations.d_out, n_features=64, k=4
    )
    folders = [tmp_path / f"{epochs}" for epochs in (1, 3)]
    made = [
        train(tiny_activations, [config], [folder], batch_size=128, epochs=epochs, dead_after=1, frozen="dec")[0]
        for folder, epochs in zip(folders, (1, 3), strict=True)
    ]
    assert torch.equal(made[0].W_dec, made[1].W_dec)
