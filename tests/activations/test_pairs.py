"""Pairs: recordings of the same text joined position by position, whatever hygiene left out of each."""

import numpy as np
import pytest
import torch

from physalis import artifact
from physalis.activations import Activations, Pairs, joining
from physalis.dictionaries import WEIGHTS, CrosscoderConfig, CrossLayerConfig, TopKConfig
from physalis.errors import BadInput
from physalis.models.tiny import TinyConfig, tiny_model
from physalis.recording import record, stream
from physalis.site import Site
from physalis.training import checkpoints, training
from physalis.training.training import train

SITES = [Site("mlp_in", 1), Site("mlp_out", 1), Site("resid_post", 2)]
OPTIONS = dict(tokens=6400, context=32, batch=8, shard_rows=640)


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def folders(text, tmp_path_factory):
    """Three sites of one model, recorded together."""
    outs = [tmp_path_factory.mktemp(site.name) for site in SITES]
    record(tiny_model(), text, SITES, outs, **OPTIONS)
    return outs


@pytest.fixture(scope="module")
def other_model(text, tmp_path_factory):
    """The first site of another model, wider, with the same tokenizer, which has sinks of its own: the newlines."""
    model = tiny_model(seed=1, config=TinyConfig(d_model=48))
    run = model.run

    def with_sink(tokens, **kwargs):
        found = run(tokens, **kwargs)
        return {site: torch.where((tokens == ord("\n"))[..., None], 100 * x, x) for site, x in found.items()}

    model.run = with_sink
    out = tmp_path_factory.mktemp("other")
    record(model, text, SITES[:1], [out], **OPTIONS)
    return out


def test_one_recording_is_read_as_it_is_alone(folders):
    pairs, alone = Pairs.open(folders[:1]), Activations.open(folders[0])
    for size, start in ((100, 0), (700, 3)):
        a = list(pairs.train.batches(size, seed=3, epochs=2, start=start))
        b = list(alone.train.batches(size, seed=3, epochs=2, start=start))
        assert len(a) == len(b) and all(torch.equal(p.x, q.x) and p.y is p.x for p, q in zip(a, b, strict=True))
    assert all(torch.equal(p, q) for p, q in zip(pairs.frame, alone.frame, strict=True))
    assert (pairs.origin, pairs.inputs, pairs.n_tokens) == (alone.origin, alone.inputs, alone.n_tokens)
    assert pairs.held_out.n_tokens == alone.held_out.n_tokens


def test_rows_are_those_of_the_same_positions(folders):
    pairs = Pairs.open(folders[:1], folders[1:])
    alone = [Activations.open(folder) for folder in folders]
    x, y, z = ([b.x for b in each.train.batches(300, seed=1, epochs=2)] for each in alone)
    joined = list(pairs.train.batches(300, seed=1, epochs=2))
    assert len(joined) == pairs.train.n_batches(300, epochs=2) == len(x)
    for i, batch in enumerate(joined):
        assert torch.equal(batch.x, x[i]) and torch.equal(batch.y, torch.cat([y[i], z[i]], 1))
    resumed = list(pairs.train.batches(300, seed=1, epochs=2, start=11))
    assert all(torch.equal(a.y, b.y) for a, b in zip(joined[11:], resumed, strict=True))
    assert pairs.left_out == 0


def test_reads_alone_are_predicted_themselves(folders):
    crosscoder = Pairs.open(folders)
    batch = next(crosscoder.train.batches(50, seed=0))
    assert batch.y is batch.x and batch.x.shape == (50, 96)
    assert (crosscoder.d_in, crosscoder.d_out, crosscoder.widths) == (96, 96, (32, 32, 32))


def test_ordered_gives_every_row_with_its_place(folders):
    pairs = Pairs.open(folders[:2], folders[2:])
    parts = list(pairs.held_out.ordered(77))
    some = list(pairs.held_out.ordered(77, start=77, stop=78))
    assert [part.at.tolist() for part in some] == [parts[1].at.tolist()]
    at = torch.cat([p.at for p in parts])
    alone = [torch.cat([r.x for r in Activations.open(f).held_out.ordered(1000)]) for f in folders]
    assert torch.equal(torch.cat([p.x for p in parts]), torch.cat(alone[:2], 1))
    assert torch.equal(torch.cat([p.y for p in parts]), alone[2])
    assert len(at.unique()) == pairs.held_out.n_tokens and np.isin(at // 32, pairs.held_out.contexts).all()
    with pytest.raises(BadInput, match="at least 1"):
        pairs.ordered(0)


def test_each_site_has_mean_square_1_inside_the_frame(folders):
    pairs = Pairs.open(folders[:2], folders[2:])
    rows = list(pairs.train.ordered(10_000))
    x, y = torch.cat([r.x for r in rows]).float(), torch.cat([r.y for r in rows]).float()
    frame = pairs.frame
    for part, mean, scale in ((x, frame.mean_in, frame.scale_in), (y, frame.mean_out, frame.scale_out)):
        assert torch.allclose(part.mean(0), mean, atol=1e-4)
        for site in ((part - mean) * scale).split(32, dim=1):
            assert site.square().mean().item() == pytest.approx(1, rel=1e-4)
    assert frame.scale_in.unique().numel() == 2


def test_a_dictionary_learns_where_it_belongs(folders, other_model):
    one = Pairs.open(folders[:1], folders[1:2])
    assert one.origin["site"] == "L1.mlp_in" and one.origin["writes"] == "L1.mlp_out"
    assert one.origin["model"] == "tiny" and set(one.origin["hygiene"]) == {"L1.mlp_in", "L1.mlp_out"}
    alone = Activations.open(folders[0])
    assert {**one.inputs, "activations": ""} == {**alone.inputs, "activations": ""}
    turned = Pairs.open(folders[1:2], folders[:1])
    assert len({p.inputs["activations"] for p in (alone, one, turned, Pairs.open(folders[:2]))}) == 4
    two = Pairs.open([folders[0], other_model])
    assert two.origin["site"] == ["L1.mlp_in", "L1.mlp_in"] and two.origin["model"] == ["tiny", "tiny"]
    assert two.inputs["model"] != alone.inputs["model"] and two.inputs["tokenizer"] == alone.inputs["tokenizer"]


@pytest.mark.parametrize("turned", [False, True])
def test_two_models_are_joined_where_both_have_a_row(folders, other_model, turned):
    order = [other_model, folders[0]] if turned else [folders[0], other_model]
    pairs, alone = Pairs.open(order), [Activations.open(folder) for folder in order]
    fewer = Activations.open(other_model)
    assert pairs.n_tokens == fewer.n_tokens < Activations.open(folders[0]).n_tokens
    assert pairs.left_out == Activations.open(folders[0]).n_tokens - fewer.n_tokens
    stored = []
    for acts in alone:
        rows = list(acts.ordered(5000))
        x, at = torch.cat([r.x for r in rows]), torch.cat([r.at for r in rows])
        places = torch.full((acts.tokens.size,), -1)
        places[at] = torch.arange(len(at))
        stored.append((x, places))
    parts = list(pairs.ordered(500))
    at, x = torch.cat([p.at for p in parts]), torch.cat([p.x for p in parts])
    assert torch.equal(x, torch.cat([rows[places[at]] for rows, places in stored], 1))
    assert torch.equal(at.sort().values, torch.cat([r.at for r in fewer.ordered(5000)]).sort().values)
    assert torch.equal(pairs.kept(pairs.contexts), fewer.kept(fewer.contexts))
    known = {tuple(row.tolist()) for row in x}
    batches = list(pairs.batches(64, seed=0))
    assert all(tuple(row.tolist()) in known for b in batches for row in b.x)
    assert len(batches) == pairs.n_batches(64)


def test_what_was_recorded_together_is_joined_without_reading_its_places(folders, other_model, monkeypatch):
    read, places = [], joining._places
    monkeypatch.setattr(joining, "_places", lambda shard: read.append(shard) or places(shard))
    assert Pairs.open(folders[:2], folders[2:]).left_out == 0 and not read
    Pairs.open([folders[0], other_model])
    assert read


def test_wide_rows_are_read_in_smaller_buffers(folders, monkeypatch):
    from physalis.activations import mixing

    pairs = Pairs.open(folders)
    whole = torch.cat([b.x for b in pairs.batches(1, seed=0)]).float()
    monkeypatch.setattr(mixing, "BUFFER_BYTES", 300 * 2 * 96)
    few = torch.cat([b.x for b in pairs.batches(1, seed=0)]).float()
    assert not torch.equal(whole, few) and torch.equal(whole.unique(dim=0), few.unique(dim=0))
    again = torch.cat([b.x for b in pairs.batches(7, seed=0, start=33)]).float()
    assert torch.equal(again, few[33 * 7 :][: len(again)])


def test_what_does_not_line_up_is_named(text, folders, tmp_path):
    def other(name, **options):
        record(tiny_model(), options.pop("text", text), SITES[:1], [tmp_path / name], **{**OPTIONS, **options})
        return tmp_path / name

    def fails(match, *others, **options):
        with pytest.raises(BadInput, match=match):
            Pairs.open([folders[0], *others], **options)

    fails("do not line up: 200 contexts of 32 tokens and 100 of 64", other("a", context=64))
    changed = tmp_path / "text.txt"
    changed.write_text("something else " * 500)
    elsewhere = other("b", text=str(changed))
    fails("do not line up: position 1 of context 0 holds token .* in the one and 115 in the other", elsewhere)
    fails("shard-000000.safetensors holds contexts 0 to 20 in the one and 0 to 10", other("c", shard_rows=320))
    fails("holds no physalis recording", tmp_path)
    fails("one to write unless writes is None", writes=[])
    with pytest.raises(BadInput, match="at least one recording to read"):
        Pairs.open([])


def test_training_reads_every_source_alike(text, folders, tmp_path):
    config = TopKConfig(d_in=32, d_out=32, n_features=96, k=4)
    sources = {
        "alone": Activations.open(folders[0]),
        "pairs": Pairs.open(folders[:1]),
        "stream": stream(tiny_model(), text, SITES[:1], **OPTIONS, window=100),
    }
    for name, source in sources.items():
        train(source, [config], [tmp_path / name], batch_size=512, epochs=2)
    weights = [(tmp_path / name / WEIGHTS).read_bytes() for name in sources]
    assert weights[0] == weights[1] == weights[2]
    told = [artifact.read(tmp_path / name, "dictionary").config for name in sources]
    assert told[0] == told[1] == told[2] and told[0]["site"] == "L1.mlp_in"


def test_a_run_on_a_stream_goes_on_to_the_same_bytes(text, tmp_path, monkeypatch):
    def made(name):
        source = stream(tiny_model(), text, SITES[:1], writes=SITES[1:2], **OPTIONS, window=4)
        config = TopKConfig(d_in=32, d_out=32, n_features=96, k=4)
        train(source, [config], [tmp_path / name], batch_size=512, epochs=2)
        return (tmp_path / name / WEIGHTS).read_bytes()

    whole, descend, steps = made("whole"), training.Run.descend, []
    monkeypatch.setattr(checkpoints, "EVERY_S", -1.0)

    def stopping(self, *rest):
        steps.append(rest)
        if len(steps) == 14:
            raise KeyboardInterrupt
        return descend(self, *rest)

    monkeypatch.setattr(training.Run, "descend", stopping)
    with pytest.raises(KeyboardInterrupt):
        made("broken")
    assert made("broken") == whole
    assert len(steps) == artifact.read(tmp_path / "whole", "dictionary").config["training"]["steps"] + 1


@pytest.mark.parametrize("kind", ["crosscoder", "crosslayer"])
def test_dictionaries_of_several_sites_train(folders, tmp_path, kind):
    if kind == "crosscoder":
        pairs = Pairs.open(folders)
        config = CrosscoderConfig(d_in=96, d_out=96, n_features=192, k=4, sites=pairs.widths)
    else:
        pairs = Pairs.open(folders[:2], folders[1:])
        config = CrossLayerConfig(d_in=64, d_out=64, n_features=192, k=4, layers=2)
    made = train(pairs, [config], [tmp_path / "d"], batch_size=512, epochs=4)[0]
    rows = next(pairs.held_out.ordered(1000))
    x, y = rows.x.float(), rows.y.float()
    rest = (made.rebuild(x, made.encode(x)) - y) * pairs.frame.scale_out
    assert rest.square().mean() < 0.6
    origin = artifact.read(tmp_path / "d", "dictionary").config
    assert {key: origin[key] for key in pairs.origin} == pairs.origin
