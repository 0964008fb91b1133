"""Every architecture as every kind that it can be: judged by what it predicts, and edited where it writes.

Weights are chosen from the data as training chooses its first ones, and not trained: what is tested is what is made of
them. What is expected is written out in plain torch.
"""

from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch

from physalis import artifact, dictionaries
from physalis.activations import Activations, Pairs
from physalis.artifact import Manifest
from physalis.atlas.build.building import build_atlas
from physalis.atlas.interventions.ablation import ablate
from physalis.atlas.interventions.attached import Attached, Case
from physalis.codes import encode
from physalis.comparing.comparison import compare
from physalis.dead_features import explain_dead_features
from physalis.errors import BadInput
from physalis.evaluation import evaluate
from physalis.explanations import explain, program_share
from physalis.models import TinyConfig, tiny_model
from physalis.placement.encoding import encoded
from physalis.placement.origin import recorded
from physalis.placement.place import Place
from physalis.recording import record
from physalis.site import Site
from physalis.steering import Add, Cap, Clamp, Scale, Steering, dose_response
from physalis.steering.edits import steerable
from physalis.training import train
from physalis.types import Batch, Codes

FEATURES, K, SEED = 40, 4, 0
STREAM = [Site("resid_post", 0), Site("resid_post", 1)]
INTO, OUT_OF = [Site("mlp_in", 0), Site("mlp_in", 1)], [Site("mlp_out", 0), Site("mlp_out", 1)]
KINDS = ("autoencoder", "transcoder", "skip", "layer norm")
ONE = ("TopK", "BatchTopK", "JumpReLU", "L1", "L1Resampled", "Gated", "Matryoshka", "ListaMatryoshka")
MADE = [
    *((name, kind) for name in (*ONE, "Crosscoder") for kind in KINDS),
    *(("MatchingPursuit", kind) for kind in ("autoencoder", "layer norm")),
    ("CrossLayer", "transcoder"),
]  # fmt: skip


class Given(NamedTuple):
    name: str
    kind: str
    folder: str
    reads: list[str]
    source: Activations | Pairs


@pytest.fixture(scope="module")
def model():
    return tiny_model(config=TinyConfig(n_layers=2))


@pytest.fixture(scope="module")
def recordings(model, tiny_text, tmp_path_factory):
    """One folder of recordings side by side."""
    folder = tmp_path_factory.mktemp("kinds")
    sites = [*STREAM, *INTO, *OUT_OF]
    outs = [folder / str(site) for site in sites]
    record(model, str(tiny_text), sites, outs, tokens=5_000, context=32, held_out=0.3)
    return folder


@pytest.fixture(scope="module")
def given(recordings):
    """A dictionary of that architecture and kind in a folder, with what it was made from."""
    found: dict[tuple[str, str], Given] = {}

    def make(name: str, kind: str) -> Given:
        if (name, kind) not in found:
            found[name, kind] = made(recordings, name, kind)
        return found[name, kind]

    return make


def made(recordings, name, kind) -> Given:
    several = name in ("Crosscoder", "CrossLayer")
    reads, writes = (INTO, OUT_OF) if kind in ("transcoder", "skip") else (STREAM, [])
    reads, writes = (sites if several else sites[1:] for sites in (reads, writes))
    folders = [[str(recordings / str(site)) for site in sites] for sites in (reads, writes)]
    source = Pairs.open(folders[0], folders[1] or None) if several or writes else Activations.open(folders[0][0])
    config = {"d_in": source.d_in, "d_out": source.d_out, "n_features": FEATURES, "k": K}
    config |= {"skip": True} if kind == "skip" else {"layer_norm": True} if kind == "layer norm" else {}
    config |= {"layers": 2} if name == "CrossLayer" else {"sites": (32, 32)} if name == "Crosscoder" else {}
    d = dictionaries.make(name, config)
    rows = Batch(*(torch.cat([getattr(part, side) for part in source.train.ordered(4096)]) for side in "xy"))
    frame = source.frame
    if kind == "layer norm":
        frame = None
        x = torch.nn.functional.layer_norm(rows.x.float(), rows.x.shape[1:])
        sample = Batch(x, x)
    else:
        sample = frame.apply(rows)
    with torch.no_grad():
        d.start(sample, seed=SEED)
        if kind == "skip":
            d.skip.normal_(0, 0.05, generator=torch.Generator().manual_seed(1))
        d.finish(sample)
        d.b_dec.normal_(0, 0.1, generator=torch.Generator().manual_seed(2))
        if frame is not None:
            d.fold(frame)
    folder = recordings / f"{name} {kind}"
    folder.mkdir()
    said = {"architecture": name, "dictionary": asdict(d.config), **source.origin}
    weights = dictionaries.save(d, folder)
    artifact.finish(folder, Manifest(kind="dictionary", config=said, seed=SEED, inputs=source.inputs), [weights])
    return Given(name, kind, str(folder), folders[0], source)


def plainly(d, x) -> torch.Tensor:
    """What a dictionary makes of rows, written out."""
    mean, std = (x.mean(1, keepdim=True), x.std(1, keepdim=True)) if d.config.layer_norm else (0, 1)
    codes = d.encode(x)
    dense = torch.zeros(len(x), FEATURES).scatter_add_(1, codes.ids.long(), codes.values)
    y = dense @ d.writes(torch.arange(FEATURES)) + d.b_dec
    if d.config.skip:
        y = y + d.inside(x) @ d.skip.T
    return y * std + mean


def fvu(each: Given) -> float:
    d = dictionaries.load(each.folder)
    x, y = (torch.cat([getattr(rows, side).float() for rows in each.source.held_out.ordered(512)]) for side in "xy")
    with torch.no_grad():
        return float((y - plainly(d, x)).square().sum() / (y - each.source.frame.mean_out).square().sum())


@pytest.mark.parametrize("name, kind", MADE)
def test_fvu_is_of_what_is_predicted(given, model, name, kind, tmp_path):
    each = given(name, kind)
    expected = fvu(each)
    atlas = build_atlas(
        each.folder, each.reads, model, tmp_path / "atlas", top=2, intervals=2, per_interval=2, causes=0
    )
    evaluated = evaluate(each.folder, each.reads, None, out=tmp_path / "evaluation")
    told = atlas.summary()
    assert told.metrics["fvu"].value == pytest.approx(expected, abs=1e-3, rel=1e-3)
    assert evaluated.facts["metrics"]["fvu"]["value"] == pytest.approx(expected, abs=1e-3, rel=1e-3)
    assert told.held_out and expected < 1.2, "far from its data"
    writes = each.source.parts[1] or each.source.parts[0]
    assert all(str(part.site) in told.site for part in (*each.source.parts[0], *writes))
    assert any(feature.promoted for feature in map(atlas.__getitem__, range(FEATURES))), (
        "what is written promotes tokens"
    )


@pytest.mark.parametrize("name, kind", MADE)
def test_codes_are_kept_as_they_are_given(given, name, kind, tmp_path):
    each = given(name, kind)
    d, part = dictionaries.load(each.folder), each.source.held_out
    codes = encode(each.folder, each.reads, out=tmp_path / "codes", device="cpu")
    assert codes.n_tokens == each.source.n_tokens and codes.n_features == FEATURES
    for wanted, found in zip(encoded(d, part), codes.encoded(part), strict=True):
        assert torch.equal(wanted.x, found.x) and torch.equal(wanted.y, found.y)
        assert torch.equal(wanted.codes.dense(FEATURES), found.codes.dense())
        assert torch.allclose(d.rebuild(wanted.x, wanted.codes), d.rebuild(found.x, found.codes), atol=1e-5)


def contribution(d, x, feature) -> torch.Tensor:
    """What a feature adds to the rebuilt rows."""
    codes = d.encode(x)
    without = codes.values.clone()
    without[codes.ids == feature] = 0
    return d.rebuild(x, codes) - d.rebuild(x, Codes(without, codes.ids))


class Watched(NamedTuple):
    """A model that is watched: what each site held, and by how much each write changed it."""

    tokens: torch.Tensor
    changes: dict[Site, torch.Tensor]


@pytest.fixture
def watched(model, monkeypatch):
    """The passes of a model in which something is written."""
    passes: list[Watched] = []
    run = model.run

    def watching(tokens, *, read=(), write=None, **more):
        changes: dict[Site, torch.Tensor] = {}

        def wrapped(site, fn):
            def write_(x):
                before = x.clone()
                after = fn(x)
                changes[site] = after - before
                return after

            return write_

        out = run(tokens, read=read, write={site: wrapped(site, fn) for site, fn in (write or {}).items()}, **more)
        if write:
            passes.append(Watched(tokens, changes))
        return out

    monkeypatch.setattr(model, "run", watching)
    return passes


def what_is_read(model, each: Given) -> tuple[Place, torch.Tensor, torch.Tensor, torch.Tensor]:
    """A few contexts as the dictionary sees them, and which positions are kept."""
    place = Place.of(each.source.parts, model)
    tokens = torch.from_numpy(each.source.tokens[:3].astype("int64"))
    got = model.run(tokens, read={*place.reads, *place.hygienes})
    return place, tokens, place.joined(got), place.keep(got)


def busiest(d, x) -> int:
    codes = d.encode(x)
    return int(torch.bincount(codes.ids[codes.values > 0].long(), minlength=FEATURES).argmax())


@pytest.mark.parametrize("name, kind", MADE)
def test_an_ablation_removes_what_the_feature_writes(given, model, watched, name, kind):
    each = given(name, kind)
    d = dictionaries.load(each.folder, dtype=torch.float32)
    place, tokens, x, keep = what_is_read(model, each)
    feature = busiest(d, x[keep])
    expected = torch.zeros(*keep.shape, d.config.d_out)
    with torch.no_grad():
        expected[keep] = contribution(d, x[keep], feature)
    fires = expected.abs().sum(-1) > 0
    cases = [Case(feature, 1, i, row.numpy(), 0, int(fires[i].nonzero()[0]), 0.5) for i, row in enumerate(tokens)]
    removed, _ = ablate(Attached(model, d, place), cases, {feature: np.arange(3)}, seed=0)
    (passed,) = watched
    assert len(removed) == 3 and set(passed.changes) == set(place.writes)
    parts = place.split(expected)
    for site, change in passed.changes.items():
        clean, own, random = change.chunk(3)
        assert not clean.any()
        assert torch.allclose(own, -parts[site], atol=1e-4)
        assert float(random.norm()) == pytest.approx(float(own.norm()), rel=1e-3) and not torch.allclose(random, own)


@pytest.mark.parametrize("name, kind", MADE)
def test_an_edit_goes_where_the_feature_writes(given, model, watched, name, kind):
    """Scaling by 0 removes what the feature writes, to the length; what cannot be known in time is refused."""
    each = given(name, kind)
    d, place = steerable(each.folder, model)
    d.compute_in(torch.float32)
    _, tokens, x, keep = what_is_read(model, each)
    feature = busiest(d, x[keep])
    if name == "Crosscoder":
        with pytest.raises(BadInput, match=f"Feature {feature} reads L1.* and writes L0"):
            Steering.of(d, [Scale(feature=feature, factor=0.0)], place)
        with pytest.raises(BadInput, match="at once"):
            Steering.of(d, [Cap(feature=feature)], place)
        edit, units = Add(feature=feature, strength=2.0), d.writes(torch.tensor([feature]))[0]
        expected = (keep[..., None] * 2.0 * units / units.norm()).float()
    else:
        edit = Scale(feature=feature, factor=0.0)
        expected = torch.zeros(*keep.shape, d.config.d_out)
        with torch.no_grad():
            expected[keep] = -contribution(d, x[keep], feature)
    model.run(tokens, read=[Site("logits")], write=Steering.of(d, [edit], place).writes())
    changes = watched[-1].changes
    for site, part in place.split(expected).items():
        assert torch.allclose(changes[site], part, atol=1e-4)
    assert not any(change.any() for site, change in changes.items() if site not in place.writes)


def test_a_clamp_is_in_units_of_what_is_written(given, model, watched):
    each = given("TopK", "layer norm")
    d, place = steerable(each.folder, model)
    d.compute_in(torch.float32)
    _, tokens, x, keep = what_is_read(model, each)
    feature = busiest(d, x[keep])
    model.run(tokens, read=place.writes, write=Steering.of(d, [Clamp(feature=feature, value=3.0)], place).writes())
    with torch.no_grad():
        after = watched[-1].changes[place.writes[0]][keep] + contribution(d, x[keep], feature)
    assert torch.allclose(after.norm(dim=1), torch.tensor(3.0), atol=1e-3)


@pytest.mark.parametrize("name, kind", [("TopK", "transcoder"), ("TopK", "layer norm"), ("Crosscoder", "transcoder")])
def test_doses_edit_what_is_written(given, model, watched, name, kind):
    each = given(name, kind)
    d, (place, _, x, keep) = dictionaries.load(each.folder), what_is_read(model, each)
    feature = busiest(d, x[keep])
    found = dose_response(each.folder, each.reads, model, feature, tokens=64, strengths=[1.0])
    assert found.unit == pytest.approx(place.unit) and np.isfinite(found.unit)
    changed = [{site for site, change in passed.changes.items() if change.any()} for passed in watched]
    assert changed and all(sites == set(place.writes) for sites in changed)
    assert {response.name for response in found.responses} > {f"feature {feature}", "random direction"}


@pytest.mark.parametrize("name, kind", [("TopK", "transcoder"), ("TopK", "skip"), ("CrossLayer", "transcoder")])
def test_two_of_a_kind_are_compared_by_what_they_predict(given, name, kind, tmp_path):
    each = given(name, kind)
    found = compare(each.folder, each.folder, each.reads, out=tmp_path / "pair").summary
    assert found.a.fvu.value == pytest.approx(fvu(each), rel=1e-3)
    assert found.fvu_difference.value == 0 and found.l0_difference.value == 0
    assert found.site.count(" → ") == 1


@pytest.mark.parametrize("name, kind", [("TopK", "skip"), ("CrossLayer", "transcoder"), ("Crosscoder", "autoencoder")])
def test_the_dead_of_every_kind_are_counted(given, name, kind):
    each = given(name, kind)
    source = recorded(artifact.read(Path(each.folder), "dictionary"), each.reads)
    found = explain_dead_features(each.folder, source, tokens=2_000, steps=0)
    assert found.n_features == FEATURES and 0 <= found.dead["value"] < 1


@pytest.mark.parametrize("name, kind", MADE)
def test_rules_are_learned_of_every_kind(given, model, name, kind, tmp_path):
    """From the firings that plain torch finds, on the positions of both parts; and they have a share of the site where
    their codes say all that is written there."""
    each = given(name, kind)
    d = dictionaries.load(each.folder)
    x = torch.cat([rows.x.float() for rows in each.source.train.ordered(512)])
    with torch.no_grad():
        fires = (d.encode(x).dense(FEATURES) > 0).sum(0)
    features = fires.argsort(descending=True)[:2].tolist()
    found = explain(each.folder, each.reads, model, tmp_path / "rules", features=features)
    assert {said.feature: said.n_fired for said in found} == {f: int(fires[f]) for f in features}
    assert all(said.size > 0 for said in found) and found.mean.f1.value > 0
    measured = [tmp_path / "rules", each.folder, each.reads, model]
    if kind in ("skip", "layer norm") or name == "CrossLayer":
        with pytest.raises(BadInput, match="skip path|layer norm|depends on what it wrote before"):
            program_share(*measured, tokens=256)
        return
    share = program_share(*measured, tokens=256)
    added = {one.name: one.loss.value for one in share.added}
    assert np.isfinite([*added.values()]).all() and share.features == 2
    judged = evaluate(each.folder, each.reads, model, out=tmp_path / "evaluation", splice_tokens=256)
    assert added["true codes"] == pytest.approx(judged.facts["metrics"]["ce_increase"]["value"], abs=1e-4)


def test_a_crosscoder_of_several_models_is_refused_in_a_sentence(recordings, model, tiny_text, tmp_path):
    other = tiny_model(config=TinyConfig(n_layers=2), seed=1)
    here = [str(recordings / str(STREAM[1])), str(tmp_path / "other")]
    record(other, str(tiny_text), [STREAM[1]], [here[1]], tokens=5_000, context=32, held_out=0.3)
    source = Pairs.open(here)
    config = dictionaries.CrosscoderConfig(d_in=64, d_out=64, n_features=FEATURES, k=K, sites=(32, 32))
    d = dictionaries.Crosscoder(config)
    d.start(Batch(*[torch.cat([rows.x for rows in source.train.ordered(4096)]).float()] * 2), seed=SEED)
    folder = tmp_path / "both"
    folder.mkdir()
    said = {"architecture": "Crosscoder", "dictionary": asdict(config), **source.origin}
    weights = dictionaries.save(d, folder)
    artifact.finish(folder, Manifest(kind="dictionary", config=said, seed=SEED, inputs=source.inputs), [weights])
    for verb in (
        lambda: build_atlas(folder, here, model, tmp_path / "atlas"),
        lambda: dose_response(folder, here, model, 0),
        lambda: steerable(folder, model),
    ):
        with pytest.raises(BadInput, match="reads several models at once"):
            verb()
    codes = encode(folder, here, out=tmp_path / "codes").folder  # asks for no model
    one, two = (compare(folder, folder, here, out=tmp_path / f"{len(kept)}", codes=kept) for kept in ([], [codes]))
    assert one.summary == two.summary and one.summary.a.fvu is not None


def test_sites_are_read_in_the_order_in_which_they_were_trained(recordings, model, tmp_path):
    """Whatever their names: a dictionary of the later layer first is one of that order."""
    folders = [str(recordings / str(site)) for site in reversed(STREAM)]
    source = Pairs.open(folders)
    config = dictionaries.CrosscoderConfig(d_in=64, d_out=64, n_features=FEATURES, k=K, sites=(32, 32))
    train(source, [config], [tmp_path / "sae"], epochs=1, batch_size=256)
    assert evaluate(tmp_path / "sae", folders, model, out=tmp_path / "evaluation").facts["metrics"]["fvu"]["value"] < 1
    with pytest.raises(BadInput, match=r"reads L1.resid_post, L0.resid_post, in this order"):
        evaluate(tmp_path / "sae", folders[::-1], model, out=tmp_path / "other")
