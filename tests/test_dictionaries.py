"""The contract every architecture keeps, and that each recovers features that are known."""

from dataclasses import asdict, fields

import pytest
import torch

from physalis import artifact, dictionaries
from physalis.adam import Adam
from physalis.dictionaries import ARCHITECTURES, Tick, rows
from physalis.errors import BadInput
from physalis.types import Batch, Codes

D, F, K, N = 24, 96, 4, 64
every = pytest.mark.parametrize("kind", ARCHITECTURES)


def make(kind, d_out=D, **more):
    d = dictionaries.make(kind.__name__, {"d_in": D, "d_out": d_out, "n_features": F, "k": K, **more})
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(400, D, generator=generator)
    d.start(Batch(x, x if d_out == D else torch.randn(400, d_out, generator=generator)), seed=0)
    d.b_enc.data.normal_(0, 0.05, generator=generator)
    d.b_dec.data.normal_(0, 0.05, generator=generator)
    return d


def some(n=N, d=D, seed=5):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


def alive():
    return Tick(0, 0.0, torch.zeros(F, dtype=torch.bool))


@every
def test_shapes_and_signs(kind):
    d = make(kind)
    codes = d.encode(some())
    assert codes.values.shape == codes.ids.shape and len(codes.values) == N
    assert (codes.values >= 0).all() and codes.ids.max() < F
    assert d.decode(codes).shape == (N, D)
    assert d.W_enc.shape == (D, F) and d.W_dec.shape == (F, D)


@every
def test_a_row_stands_alone(kind):
    d, x = make(kind), some()
    whole = d.decode(d.encode(x))
    alone = torch.cat([d.decode(d.encode(row[None])) for row in x])
    assert torch.allclose(whole, alone, atol=1e-5)


@every
def test_writes_is_what_a_code_adds(kind):
    d = make(kind)
    ids = torch.tensor([0, 7, F - 1], dtype=torch.int32)
    one = d.decode(Codes(torch.ones(3, 1), ids[:, None]))
    none = d.decode(Codes(torch.zeros(3, 1), ids[:, None]))
    assert torch.allclose(d.writes(ids), one - none, atol=1e-6)


@every
def test_reads_is_the_gradient_of_the_code(kind):
    d = make(kind)
    x = some().requires_grad_()
    codes = rows.encode_top(x, d.enc, d.b_enc, K)
    codes.values[3, 0].backward()
    assert torch.allclose(x.grad[3], d.reads(codes.ids[3, :1])[0], atol=1e-6)


@every
def test_every_parameter_gets_a_gradient(kind):
    d, x = make(kind), some()
    loss = d.loss(Batch(x, x), alive())
    assert all(torch.isfinite(term) for term in loss.terms.values())
    sum(loss.terms.values()).backward()
    for name, p in d.named_parameters():
        grad = p.grad if p.grad is not None else sum(rows.outer_sum(o, F) for o in p.outers)
        assert grad.abs().sum() > 0, name


@every
def test_dead_features_get_a_gradient_from_the_auxiliary_loss(kind):
    d, x = make(kind), some()
    d.b_enc.data[:10] = 0
    codes = d.loss(Batch(x, x), alive()).codes
    silent = torch.ones(F, dtype=torch.bool)
    silent[codes.ids[codes.values > 0].long()] = False
    dead = silent.clone()
    assert dead.any()
    loss = d.loss(Batch(x, x), Tick(0, 0.0, dead))
    sum(loss.terms.values()).backward()
    assert sum(rows.outer_sum(o, F) for o in d.enc.outers)[dead].abs().sum() > 0
    without = make(kind, aux_weight=0)
    without.load_state_dict(d.state_dict())
    loss = without.loss(Batch(x, x), Tick(0, 0.0, dead))
    sum(loss.terms.values()).backward()
    assert sum(rows.outer_sum(o, F) for o in without.enc.outers)[dead].abs().sum() == 0


@every
def test_constrain_twice_is_once(kind):
    d = make(kind)
    d.constrain()
    before = {name: p.clone() for name, p in d.state_dict().items()}
    d.constrain()
    assert all(torch.equal(before[name], p) for name, p in d.state_dict().items())


@every
def test_the_same_seed_gives_the_same_start(kind):
    a, b = make(kind), make(kind)
    assert all(torch.equal(a.state_dict()[name], p) for name, p in b.state_dict().items())


@every
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_folding_mean_and_scale_changes_nothing(kind, dtype):
    d = make(kind)
    d.compute_in(dtype)
    mean, scale = 30 * torch.randn(D, generator=torch.Generator().manual_seed(9)), 0.25
    raw = some() / scale + mean
    before = d.encode((raw - mean) * scale)
    wanted = d.decode(before) / scale + mean
    d.fold(mean, scale, mean, scale)
    after = d.encode(raw)
    assert torch.allclose(d.decode(after), wanted, atol=1e-3)
    assert torch.allclose(after.values.sum(1), before.values.sum(1) / scale, rtol=1e-3)


@every
def test_a_transcoder_is_only_data(kind):
    d, x = make(kind, d_out=10), some()
    loss = d.loss(Batch(x, some(d=10, seed=6)), alive())
    sum(loss.terms.values()).backward()
    assert d.decode(d.encode(x)).shape == (N, 10)


@every
def test_saving_and_loading_is_bitwise(kind, tmp_path):
    d = make(kind)
    with artifact.claim(tmp_path / "d", "dictionary", {}):
        name = dictionaries.save(d, tmp_path / "d")
        about = {"architecture": kind.__name__, "dictionary": asdict(d.config)}
        artifact.finish(tmp_path / "d", artifact.Manifest(kind="dictionary", config=about), [name])
    twin = dictionaries.load(tmp_path / "d")
    assert type(twin) is kind and twin.config == d.config
    assert all(torch.equal(twin.state_dict()[name], p) for name, p in d.state_dict().items())
    (tmp_path / "d" / name).write_bytes(b"broken")
    with pytest.raises(BadInput, match="damaged"):
        dictionaries.load(tmp_path / "d")


@every
def test_it_recovers_known_features(kind):
    """40 sparse features in 24 dimensions: found directions lie within a mean cosine of .9 of the true ones."""
    generator = torch.Generator().manual_seed(1)
    truth = torch.nn.functional.normalize(torch.randn(40, D, generator=generator), dim=1)

    def world(n):
        fires = torch.rand(n, 40, generator=generator) < 2 / 40
        x = (fires * (0.5 + torch.rand(n, 40, generator=generator))) @ truth
        return x * (D / x.square().sum(1).mean()).sqrt()

    d = dictionaries.make(kind.__name__, {"d_in": D, "d_out": D, "n_features": 60, "k": 2})
    x = world(2000)
    d.start(Batch(x, x), seed=0)
    adam = Adam(d.named_parameters())
    for step in range(600):
        x = world(512)
        sum(d.loss(Batch(x, x), Tick(step, step / 600, torch.zeros(60, dtype=torch.bool))).terms.values()).backward()
        adam.step(1e-2 * min(1, (600 - step) / 300))
        d.constrain()
    best = (truth @ d.W_dec.T).max(dim=1).values
    shuffled = (truth[:, torch.randperm(D, generator=generator)] @ d.W_dec.T).max(dim=1).values
    assert best.mean() > 0.9 > shuffled.mean()


def test_batchtopk_keeps_k_on_average_and_no_more_than_most():
    d, x = make(dictionaries.BatchTopK), some(256)
    codes = d.loss(Batch(x, x), alive()).codes
    fired = (codes.values > 0).sum(1)
    assert fired.sum() == K * 256
    assert fired.max() <= d.config.most * K and fired.min() < K


def test_batchtopk_uses_its_threshold_afterwards():
    d, x = make(dictionaries.BatchTopK), some(256)
    d.loss(Batch(x, x), alive())
    assert d.threshold > 0
    codes = d.encode(x)
    assert codes.values[codes.values > 0].min() >= d.threshold


def test_frozen_directions_do_not_learn():
    d, x = make(dictionaries.TopK), some()
    d.start_frozen(Batch(x, x), seed=3)
    before = d.W_dec.clone()
    adam = Adam((n, p) for n, p in d.named_parameters() if p.requires_grad)
    for _ in range(3):
        sum(d.loss(Batch(x, x), alive()).terms.values()).backward()
        adam.step(0.01)
    assert torch.equal(d.W_dec, before)


@every
def test_configs_are_small(kind):
    config = kind.__init__.__annotations__["config"]
    assert len(fields(config)) <= 12
    assert dictionaries.architecture_of(config(d_in=2, d_out=2, n_features=9, k=1)) is kind


def test_bad_input_is_a_sentence():
    with pytest.raises(BadInput, match="k = 96 must be smaller than the number of features, 96"):
        dictionaries.make("topk", {"d_in": D, "d_out": D, "n_features": F, "k": F})
    with pytest.raises(BadInput, match="no dictionary architecture 'topq'.*topk, batchtopk"):
        dictionaries.make("topq", {})
    with pytest.raises(BadInput, match="no setting 'kk'"):
        dictionaries.make("topk", {"kk": 1})
    with pytest.raises(BadInput, match="n_features must be at least 1"):
        dictionaries.make("topk", {"d_in": D, "d_out": D, "n_features": 0, "k": 1})
