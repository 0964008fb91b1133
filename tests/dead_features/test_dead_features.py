"""Dead features: dictionaries made to die by each cause on purpose, and it is named; a healthy one is unaccused."""

import hashlib
import json
from collections import Counter

import pytest
import torch
from damage import agree

from physalis import artifact, dictionaries
from physalis.cli.shown.features import dead_features
from physalis.dead_features import explain_dead_features
from physalis.dictionaries import L1, JumpReLU, JumpReLUConfig, L1Config, TopK, TopKConfig
from physalis.dictionaries.l0_control import L0Control
from physalis.errors import BadInput
from physalis.training.training import train
from physalis.types import Batch, Frame

D, FEATURES, TRUE, K, ROWS = 32, 48, 256, 6, 6144


class Table:
    """Rows in memory to train on."""

    def __init__(self, x, *, centred=True, held_out=None):
        self.x, self.centred = x, centred
        self.d_in = self.d_out = x.shape[1]
        self.n_tokens, self.origin = len(x), {"site": "a table"}
        if held_out is not None:
            self.held_out = Table(held_out)

    @property
    def train(self):
        return self

    @property
    def inputs(self):
        return {"table": hashlib.sha256(self.x.numpy().tobytes()).hexdigest()}

    @property
    def frame(self):
        mean = self.x.mean(0) if self.centred else torch.zeros(self.d_in)
        scale = (self.x - mean).square().mean().rsqrt().expand(self.d_in).contiguous()
        return Frame(mean, scale, mean, scale)

    def n_batches(self, size, *, epochs=1):
        return self.n_tokens * epochs // size

    def batches(self, size, *, seed, epochs=1, start=0):
        orders = [
            torch.randperm(self.n_tokens, generator=torch.Generator().manual_seed(seed + e)) for e in range(epochs)
        ]
        order = torch.cat(orders)
        for i in range(start, self.n_batches(size, epochs=epochs)):
            x = self.x[order[i * size : (i + 1) * size]]
            yield Batch(x, x)


@pytest.fixture(scope="module")
def rows():
    """Sparse sums of 256 directions in 32 dimensions: nothing about them kills."""
    g = torch.Generator().manual_seed(0)
    directions = torch.nn.functional.normalize(torch.randn(TRUE, D, generator=g), dim=1)
    fires = torch.rand(ROWS, TRUE, generator=g) < torch.linspace(0.15, 0.01, TRUE)
    x = (fires * (1 + torch.rand(ROWS, TRUE, generator=g))) @ directions
    return x / x.std()


def trained(source, out, config=TopKConfig, fields=None, **options):
    made = config(d_in=D, d_out=D, n_features=FEATURES, k=K, **(fields or {}))
    train(source, [made], [out], **({"batch_size": 256, "epochs": 2, "lr": 6e-3, "warmup": 20, "decay": 0.6} | options))
    return out


def verdict(deaths):
    """The most frequent cause among the dead, and how much of them it explains."""
    causes = Counter(f.cause for f in deaths.features)
    assert causes == {c.name: c.features for c in deaths.causes}
    name, n = causes.most_common(1)[0]
    return name, n / deaths.n_dead


def starting(monkeypatch, architecture, spoil):
    """Spoil the weights that training starts from."""
    settle = architecture.settle

    def settled(self, sample):
        settle(self, sample)
        spoil(self)
        self.enc.refresh()

    monkeypatch.setattr(architecture, "settle", settled)


@pytest.mark.parametrize("config", [TopKConfig, L1Config])
def test_a_healthy_run_is_accused_of_nothing(rows, tmp_path, config):
    deaths = explain_dead_features(trained(Table(rows), tmp_path / "d", config), Table(rows))
    assert deaths.n_dead <= 2 and deaths.dead["low"] <= deaths.dead["value"] <= deaths.dead["high"] < 0.2
    assert not {c.name for c in deaths.causes} - {"rarity", "redundancy", "unknown"}


def test_a_bias_far_off(rows, tmp_path, monkeypatch):
    starting(monkeypatch, TopK, lambda d: d.b_enc.data[::2].sub_(10))
    deaths = explain_dead_features(trained(Table(rows), tmp_path / "d"), Table(rows))
    assert verdict(deaths) == ("initial scale", 1.0) and deaths.n_dead == deaths.never_fired == FEATURES // 2
    assert "bias -10" in deaths.causes[0].because and "bias 0" in deaths.causes[0].fix
    assert [(t.name, t.dead) for t in deaths.trials] == [("as it was", 24), ("initial scale", 0)]
    assert all(f.numbers["rate_at_start"] == 0 and f.id % 2 == 0 for f in deaths.features)


def test_rows_a_hundred_times_too_short(rows, tmp_path, monkeypatch):
    starting(monkeypatch, TopK, lambda d: d.enc.data[::2].mul_(0.01))
    deaths = explain_dead_features(trained(Table(rows), tmp_path / "d", fields={"aux_weight": 0.0}), Table(rows))
    assert deaths.n_dead > 15 and verdict(deaths)[0] == "initial scale" and verdict(deaths)[1] > 0.7


def test_a_learning_rate_of_one(rows, tmp_path):
    deaths = explain_dead_features(
        trained(Table(rows), tmp_path / "d", JumpReLUConfig, {"k_start": 1.0}, lr=1.0), Table(rows)
    )
    assert deaths.n_dead > 20 and verdict(deaths)[0] == "learning rate" and verdict(deaths)[1] > 0.7
    assert "not 1" in deaths.causes[0].fix and deaths.never_fired == 0


def test_a_mean_that_was_not_subtracted(rows, tmp_path):
    away = torch.nn.functional.normalize(torch.randn(D, generator=torch.Generator().manual_seed(1)), dim=0)
    uncentred = Table(rows + 20 * away, centred=False)
    deaths = explain_dead_features(trained(uncentred, tmp_path / "d"), uncentred)
    assert deaths.n_dead > 20 and verdict(deaths)[0] == "centring" and verdict(deaths)[1] > 0.7
    centred = Table(rows + 20 * away)
    assert explain_dead_features(trained(centred, tmp_path / "centred"), centred, steps=0).n_dead <= 2


def test_a_dimension_with_most_of_the_variance(rows, tmp_path):
    x = rows.clone()
    x[:, 3] += 100 * (torch.rand(ROWS, generator=torch.Generator().manual_seed(2)) < 0.5)
    deaths = explain_dead_features(trained(Table(x), tmp_path / "d"), Table(x))
    assert deaths.n_dead > 10 and verdict(deaths)[0] == "outlier dimensions" and verdict(deaths)[1] > 0.7
    assert "dimension 3 by" in deaths.causes[0].fix


def test_a_penalty_that_does_not_yield(rows, tmp_path, monkeypatch):
    monkeypatch.setattr(L0Control, "forward", lambda self, l0, k: torch.tensor(1e4))
    monkeypatch.setattr(L1, "finish", lambda self, sample: None)
    deaths = explain_dead_features(trained(Table(rows), tmp_path / "d", L1Config, epochs=6, lr=0.04), Table(rows))
    assert deaths.n_dead > 20 and verdict(deaths)[0] == "penalty" and verdict(deaths)[1] > 0.7


def test_what_fires_on_other_text_is_rare(rows, tmp_path):
    folder = trained(Table(rows), tmp_path / "d")
    codes = dictionaries.load(folder).encode(rows)
    fires = ((codes.ids == 5) & (codes.values > 0)).any(1)
    deaths = explain_dead_features(folder, Table(rows[~fires], held_out=rows[fires]))
    assert [(f.id, f.cause) for f in deaths.features] == [(5, "rarity")]
    assert deaths.features[0].numbers["elsewhere"] == fires.sum()
    assert "nothing could be repeated" in deaths.notes[0] and not deaths.trials


def test_a_copy_is_redundant(rows, tmp_path):
    folder = trained(Table(rows), tmp_path / "d")
    d = dictionaries.load(folder)
    d.enc.data[7], d.b_enc.data[7], d.dec.data[7] = 0, -1, d.dec.data[8]
    dictionaries.save(d, folder)
    agree(folder, dictionaries.WEIGHTS)
    deaths = explain_dead_features(folder, Table(rows), steps=0)
    assert {f.id: f.cause for f in deaths.features}[7] == "redundancy"


def test_a_mean_left_in_a_dictionary_whose_training_is_unknown_is_said(rows, tmp_path):
    d = TopK(TopKConfig(d_in=D, d_out=D, n_features=FEATURES, k=K))
    d.enc.data.copy_(torch.randn(FEATURES, D, generator=torch.Generator().manual_seed(0)))
    d.dec.data.copy_(torch.nn.functional.normalize(d.enc.data, dim=1))
    tmp_path.joinpath("d").mkdir()
    name = dictionaries.save(d, tmp_path / "d")
    config = {"architecture": "TopK", "dictionary": {"d_in": D, "d_out": D, "n_features": FEATURES, "k": K}}
    artifact.finish(tmp_path / "d", artifact.Manifest(kind="dictionary", config=config), [name])
    deaths = explain_dead_features(tmp_path / "d", Table(rows + 20))
    assert deaths.n_dead and deaths.never_fired is None and deaths.features[0].last_fired is None
    assert "centring is a suspicion" in deaths.notes[1]


def test_the_record_is_json_and_prints(rows, tmp_path, monkeypatch, capsys):
    starting(monkeypatch, JumpReLU, lambda d: d.b_enc.data[:3].sub_(10))
    made = trained(Table(rows), tmp_path / "d", JumpReLUConfig, {"k_start": 1.0})
    deaths = explain_dead_features(made, Table(rows), steps=30)
    dead_features.show(deaths, json=True)
    told = json.loads(capsys.readouterr().out)
    assert told["dead"]["value"] == deaths.n_dead / FEATURES and told["features"][0]["cause"] == "initial scale"
    assert told["curve"][0] == [256, 0]
    dead_features.show(deaths, json=False)
    assert "initial scale" in capsys.readouterr().out


def test_bad_input_is_a_sentence(rows, tmp_path):
    folder = trained(Table(rows), tmp_path / "d", epochs=1)
    with pytest.raises(BadInput, match="has width 32 in and 32 out, these activations 16"):
        explain_dead_features(folder, Table(rows[:, :16].contiguous()))
    with pytest.raises(BadInput, match="holds no physalis dictionary"):
        explain_dead_features(tmp_path / "nowhere", Table(rows))
