"""The contract every architecture keeps, and that each recovers features that are known."""

from dataclasses import asdict, fields

import pytest
import torch

from physalis import artifact, dictionaries
from physalis.dictionaries import ARCHITECTURES, Tick
from physalis.dictionaries.kernels import rows
from physalis.errors import BadInput
from physalis.training.adam import Adam
from physalis.types import Batch, Codes, Frame

D, F, K, N = 24, 96, 4, 64
every = pytest.mark.parametrize("kind", ARCHITECTURES)

READERS_OF_THEIR_OWN_OUTPUT = (dictionaries.ListaMatryoshka, dictionaries.MatchingPursuit)
"""Architectures that compare what they rebuild with what they read: no transcoders."""
straight = pytest.mark.parametrize("kind", [k for k in ARCHITECTURES if k not in READERS_OF_THEIR_OWN_OUTPUT])
PENALISED = (dictionaries.JumpReLU, dictionaries.L1, dictionaries.L1Resampled, dictionaries.Gated)


def make(kind, d_out=D, **more):
    layers = {"layers": 2} if kind is dictionaries.CrossLayer else {}
    d = dictionaries.make(kind.__name__, {"d_in": D, "d_out": d_out, "n_features": F, "k": K, **layers, **more})
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(400, D, generator=generator)
    y = x if d_out == D else torch.randn(400, d_out, generator=generator)
    d.start(Batch(x, y), seed=0)
    if kind is not dictionaries.MatchingPursuit:
        d.b_enc.data += 0.05 * torch.randn(F, generator=generator)
    d.b_dec.data.normal_(0, 0.05, generator=generator)
    d.loss(Batch(x, y), alive())  # those that choose by rank have a threshold from now on
    d.finish(Batch(x, y))
    return d


def some(n=N, d=D, seed=5):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


def alive():
    return Tick(0, 0.0, torch.zeros(F, dtype=torch.bool))


def descend(d, batch, lr, step=0, progress=0.0):
    sum(
        d.loss(batch, Tick(step, progress, torch.zeros(d.config.n_features, dtype=torch.bool))).terms.values()
    ).backward()


@every
def test_shapes_and_signs(kind):
    d = make(kind)
    codes = d.encode(some())
    assert codes.values.shape == codes.ids.shape and len(codes.values) == N
    assert (codes.values >= 0).all() and codes.ids.max() < F
    assert d.decode(codes).shape == (N, D)
    fired = torch.zeros(N, F).scatter_add(1, codes.ids.long(), (codes.values > 0).float())
    assert fired.max() == 1, "a feature fires once on a token"


@every
def test_a_row_stands_alone(kind):
    d, x = make(kind), some()
    whole = d.rebuild(x, d.encode(x))
    alone = torch.cat([d.rebuild(row[None], d.encode(row[None])) for row in x])
    assert torch.allclose(whole, alone, atol=1e-5)


@every
def test_writes_is_what_a_code_adds(kind):
    d = make(kind)
    ids = torch.tensor([0, 7, F - 1], dtype=torch.int32)
    one = d.decode(Codes(torch.ones(3, 1), ids[:, None]))
    none = d.decode(Codes(torch.zeros(3, 1), ids[:, None]))
    assert torch.allclose(d.writes(ids), one - none, atol=1e-6)


@straight
def test_reads_is_the_gradient_of_the_code(kind):
    d = make(kind)
    x = some().requires_grad_()
    codes = d.encode(x)
    row = int((codes.values > 0).sum(1).argmax())
    column = int(codes.values[row].argmax())
    codes.values[row, column].backward()
    assert torch.allclose(x.grad[row], d.reads(codes.ids[row, column, None])[0], atol=1e-6)


@every
def test_every_parameter_gets_a_gradient(kind):
    d, x = make(kind), some()
    loss = d.loss(Batch(x, x), alive())
    assert all(torch.isfinite(term) for term in loss.terms.values())
    sum(loss.terms.values()).backward()
    for name, p in d.named_parameters():
        if p.requires_grad:
            grad = p.grad if p.grad is not None else sum(rows.outer_sum(o, len(p)) for o in p.outers)
            assert grad.abs().sum() > 0, name


@pytest.mark.parametrize(
    "kind", [k for k in ARCHITECTURES if hasattr(k.__init__.__annotations__["config"], "aux_weight")]
)
def test_dead_features_get_a_gradient_from_the_auxiliary_loss(kind):
    d, x = make(kind), some()
    codes = d.loss(Batch(x, x), alive()).codes
    dead = torch.ones(F, dtype=torch.bool)
    dead[codes.ids[codes.values > 0].long()] = False
    if not dead.any():  # more fire on average than exactly
        dead[:5] = True

    def pull(kind, **more):
        twin = make(kind, **more)
        twin.load_state_dict(d.state_dict())
        sum(twin.loss(Batch(x, x), Tick(0, 0.0, dead)).terms.values()).backward()
        return sum(rows.outer_sum(o, F) for o in twin.enc.outers)

    assert (pull(kind) - pull(kind, aux_weight=0))[dead].abs().sum() > 0
    assert torch.allclose(pull(kind)[~dead], pull(kind, aux_weight=0)[~dead], atol=1e-6)


@every
def test_as_many_fire_as_were_asked_for(kind):
    d, x = make(kind), some(400, seed=0)
    x = torch.randn(400, D, generator=torch.Generator().manual_seed(0))  # what finish() saw
    l0 = float((d.encode(x).values > 0).sum()) / 400
    loose = {dictionaries.MatchingPursuit: 0.15, dictionaries.Gated: 0.05}  # at most k; where magnitudes allow
    assert l0 == pytest.approx(K, rel=loose.get(kind, 0.02))


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
    mean, scale = 30 * torch.randn(D, generator=torch.Generator().manual_seed(9)), torch.full((D,), 0.25)
    raw = some() / scale + mean
    x = (raw - mean) * scale
    before = d.encode(x)
    wanted = d.rebuild(x, before) / scale + mean
    d.fold(Frame(mean, scale, mean, scale))
    after = d.encode(raw)
    assert torch.allclose(d.rebuild(raw, after), wanted, atol=1e-3)
    assert torch.allclose(after.values.sum(1), before.values.sum(1) / scale[0], rtol=1e-3)


@straight
def test_folding_a_scale_for_each_site_changes_nothing(kind):
    """As where several sites are joined. Directions have length 1 afterwards, whatever it does to the codes."""
    d = make(kind, d_out=10)
    mean, scale = torch.randn(D), torch.linspace(0.2, 3, D)
    mean_out, scale_out = torch.randn(10), torch.linspace(0.1, 2, 10)
    x = some()
    wanted = d.rebuild(x, d.encode(x)) / scale_out + mean_out
    d.fold(Frame(mean, scale, mean_out, scale_out))
    raw = x / scale + mean
    assert torch.allclose(d.rebuild(raw, d.encode(raw)), wanted, atol=1e-4)
    if kind is not dictionaries.TopK:  # whose features must keep their order
        assert torch.allclose(d.writes(torch.arange(F)).norm(dim=1), torch.ones(F), atol=1e-5)


@straight
def test_a_transcoder_is_only_data(kind):
    d, x = make(kind, d_out=10), some()
    loss = d.loss(Batch(x, some(d=10, seed=6)), alive())
    sum(loss.terms.values()).backward()
    assert d.rebuild(x, d.encode(x)).shape == (N, 10)


@straight
def test_a_skip_path_takes_what_is_linear(kind):
    if kind is dictionaries.CrossLayer:
        with pytest.raises(BadInput, match="no.* skip path|neither a skip path"):
            make(kind, skip=True)
        return
    d = make(kind, skip=True)
    x = some(2000)
    y = x @ torch.randn(D, D, generator=torch.Generator().manual_seed(4)) / D**0.5
    adam = Adam(d.named_parameters())
    for _ in range(300):
        descend(d, Batch(x, y), 0.01)
        adam.step(0.01)
    assert (d.skip @ x.T - y.T).square().mean() < 0.1 * y.square().mean()
    rest = d.rebuild(x, d.encode(x)) - d.decode_rows(d.encode(x)) - d.inside(x) @ d.skip.T
    assert rest.abs().max() < 1e-4


@pytest.mark.parametrize("kind", READERS_OF_THEIR_OWN_OUTPUT)
def test_what_cannot_be_a_transcoder_says_so(kind):
    d, x = make(kind), some()
    with pytest.raises(BadInput, match="cannot be a transcoder"):
        d.loss(Batch(x, some(seed=6)), alive())


@straight
def test_layer_norm_is_undone(kind):
    """For converted dictionaries: a token moved and stretched gives the same codes and a moved and stretched guess."""
    if kind is dictionaries.CrossLayer:
        return
    d, x = make(kind, layer_norm=True), some()
    y = d.rebuild(x, d.encode(x))
    codes = d.encode(3 * x + 2)
    for found, true in ((codes.values, d.encode(x).values), (d.rebuild(3 * x + 2, codes), 3 * y + 2)):
        assert (found - true).abs().max() < 1e-4 * true.abs().max()


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
    """40 sparse features in 24 dimensions: found directions lie within a mean cosine of .85 of the true ones."""
    generator = torch.Generator().manual_seed(1)
    truth = torch.nn.functional.normalize(torch.randn(40, D, generator=generator), dim=1)

    def world(n):
        fires = torch.rand(n, 40, generator=generator) < 2 / 40
        x = (fires * (0.5 + torch.rand(n, 40, generator=generator))) @ truth
        return x * (D / x.square().sum(1).mean()).sqrt()

    d = dictionaries.make(kind.__name__, {"d_in": D, "d_out": D, "n_features": 60, "k": 2})
    x = world(2000)
    d.start(Batch(x, x), seed=0)
    adam = Adam((n, p) for n, p in d.named_parameters() if p.requires_grad)
    for step in range(500):
        x = world(512)
        descend(d, Batch(x, x), 0, step, step / 500)
        adam.step(1e-2 * min(1, (500 - step) / 250))
        d.constrain()
    directions = torch.nn.functional.normalize(d.writes(torch.arange(60)), dim=1)
    best = (truth @ directions.T).max(dim=1).values
    shuffled = (truth[:, torch.randperm(D, generator=generator)] @ directions.T).max(dim=1).values
    assert best.mean() > 0.85 > 0.75 > shuffled.mean()


def test_a_pursuit_by_products_is_the_pursuit_by_rounds(monkeypatch):
    d, x = make(dictionaries.MatchingPursuit), some(400)
    quick = d.decode(d.encode(x)), (d.encode(x).values > 0).sum(1)
    monkeypatch.setattr("physalis.dictionaries.architectures.matchingpursuit._MOST_PRODUCTS", 0)
    slow = d.decode(d.encode(x)), (d.encode(x).values > 0).sum(1)
    assert torch.allclose(quick[0], slow[0], atol=1e-5) and torch.equal(quick[1], slow[1])


def test_matching_pursuit_takes_the_best_of_what_is_left():
    d, x = make(dictionaries.MatchingPursuit), some(20)
    rest, codes = x - d.b_dec, torch.zeros(20, F)
    for _ in range(K):
        score = rest @ d.dec.T
        best = score.argmax(1)
        amount = score.gather(1, best[:, None]).clamp_min(0)
        codes.scatter_add_(1, best[:, None], amount)
        rest = rest - amount * d.dec[best]
    found = d.encode(x)
    assert torch.allclose(torch.zeros(20, F).scatter_add(1, found.ids.long(), found.values), codes, atol=1e-5)


def test_cross_layer_features_never_write_to_earlier_layers():
    d = make(dictionaries.CrossLayer)
    late = d.writes(torch.arange(F // 2, F))
    assert late[:, : D // 2].abs().max() == 0 and late[:, D // 2 :].abs().min(1).values.max() > 0
    x = some()
    moved = x.clone()
    moved[:, D // 2 :] += 1  # the second layer's input
    assert torch.equal(d.rebuild(x, d.encode(x))[:, : D // 2], d.rebuild(moved, d.encode(moved))[:, : D // 2])


def test_crosscoder_lengths_say_where_a_feature_lives():
    d = make(dictionaries.Crosscoder, sites=(10, 14))
    d.dec.data[3, 10:] = 0
    assert [tuple(part.shape) for part in d.parts()] == [(F, 10), (F, 14)]
    assert d.lengths()[3, 1] == 0 and d.lengths()[3, 0] > 0


def test_dead_features_are_resampled_on_what_is_rebuilt_worst():
    d, x = make(dictionaries.L1Resampled), some(256)
    dead = torch.zeros(F, dtype=torch.bool)
    dead[[2, 5]] = True
    before = d.dec.data.clone()
    assert d.replace(Batch(x, x), Tick(9, 0.09, dead), seed=0) is None, "not due"
    assert d.replace(Batch(x, x), Tick(10, 0.1, dead), seed=0).tolist() == [2, 5]
    changed = (d.dec.data != before).any(1).nonzero().flatten().tolist()
    assert changed == [2, 5]
    assert (torch.nn.functional.normalize(x, dim=1) @ d.dec.data[2]).max() > 0.999, "a data point"


def test_the_penalty_follows_the_l0():
    asked = dictionaries.l0_control.L0Control()
    asked.begin(1.0)
    many = [float(asked(torch.tensor(16.0), 8)) for _ in range(20)]
    assert many[0] > 1 and many[-1] > many[0], "grows while too many fire"
    few = [float(asked(torch.tensor(4.0), 8)) for _ in range(60)]
    assert few[0] < 1 and few[-1] < few[0], "shrinks while too few do"
    asked.begin(0.3)
    assert float(asked(torch.tensor(8.0), 8)) == pytest.approx(0.3)


@pytest.mark.parametrize("again", [False, True], ids=["first batch", "threshold known"])
def test_batchtopk_keeps_the_largest_of_the_batch(again):
    d, x = make(dictionaries.BatchTopK), some(256)
    if not again:
        d.threshold.zero_()
    codes = d.loss(Batch(x, x), alive()).codes
    wanted = (x @ d.enc.T + d.b_enc).flatten().topk(K * 256).values
    assert torch.allclose(codes.values[codes.values > 0].sort(descending=True).values, wanted, atol=1e-5)


def test_batchtopk_uses_its_threshold_afterwards():
    d, x = make(dictionaries.BatchTopK), some(256)
    d.loss(Batch(x, x), alive())
    assert (d.threshold > 0).all()
    codes = d.encode(x)
    assert codes.values[codes.values > 0].min() >= d.threshold[0]


def test_frozen_directions_do_not_learn():
    d, x = make(dictionaries.TopK), some()
    d.start_frozen(Batch(x, x), "dec", seed=3)
    before = d.W_dec.clone()
    adam = Adam((n, p) for n, p in d.named_parameters() if p.requires_grad)
    for _ in range(3):
        sum(d.loss(Batch(x, x), alive()).terms.values()).backward()
        adam.step(0.01)
    assert torch.equal(d.W_dec, before)


@every
def test_configs_are_small(kind):
    config = kind.__init__.__annotations__["config"]
    assert len(fields(config)) <= 15
    assert dictionaries.architecture_of(config(d_in=2, d_out=2, n_features=128, k=1)) is kind


def test_bad_input_is_a_sentence():
    with pytest.raises(BadInput, match="k = 96 must be smaller than the number of features, 96"):
        dictionaries.make("topk", {"d_in": D, "d_out": D, "n_features": F, "k": F})
    with pytest.raises(BadInput, match="no dictionary architecture 'topq'.*topk, batchtopk"):
        dictionaries.make("topq", {})
    with pytest.raises(BadInput, match="no setting 'kk'"):
        dictionaries.make("topk", {"kk": 1})
    with pytest.raises(BadInput, match="n_features must be at least 1"):
        dictionaries.make("topk", {"d_in": D, "d_out": D, "n_features": 0, "k": 1})


@every
def test_rows_of_another_width_are_a_sentence(kind):
    d = make(kind)
    with pytest.raises(BadInput, match=f"reads rows of width {D}.*received .{N}, {D + 2}."):
        d.encode(some(d=D + 2))


def test_what_is_asked_for_falls_to_k():
    falling = dictionaries.l0_control.falling
    at = [falling(8, Tick(0, progress, torch.zeros(1)), start=4.0, over=0.5) for progress in (0.0, 0.25, 0.5, 0.9)]
    assert at == pytest.approx([32, 16, 8, 8])


def test_the_second_look_learns_its_step_within_bounds():
    d = make(dictionaries.ListaMatryoshka, step=0.1, most_step=0.12)
    x, adam, seen = some(256), Adam(d.named_parameters()), []
    for _ in range(5):
        descend(d, Batch(x, x), 1e-2)
        adam.step(1e-2)
        d.constrain()
        seen.append(float(d.step.detach()))
    assert len(set(seen)) > 1 and all(0 <= step <= 0.12 + 1e-6 for step in seen)


def test_prefixes_step_between_halves():
    d = make(dictionaries.Matryoshka)
    assert d.widths == (4, 6, 9, 12, 18, 24, 36, 48, 72, 96)
