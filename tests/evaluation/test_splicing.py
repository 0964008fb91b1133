"""Splices against whole passes in plain torch: where they are written, what is shared, and what is counted."""

from functools import partial

import pytest
import torch
from judged import CONTEXT, filled, record_all, save

from physalis import dictionaries
from physalis.activations import Activations, Pairs
from physalis.errors import BadInput
from physalis.evaluation import LinearMap, Splicer, evaluate, splicing
from physalis.evaluation import losses as variants
from physalis.models.tiny import tiny_model
from physalis.site import Site

WIDTH = 32
LOGITS = Site("logits")
PAIR = {"d_in": 2 * WIDTH, "d_out": 2 * WIDTH, "n_features": 96, "k": 8}


@pytest.fixture(scope="module")
def model():
    """A Tiny whose MLPs are linear maps, so that a dictionary can be one."""
    made = tiny_model(seed=3)
    for block in made.hf.get_submodule("blocks"):
        block.mlp[1] = torch.nn.Identity()
    return made


@pytest.fixture(scope="module")
def recorded(model, tmp_path_factory):
    return record_all(model, tmp_path_factory.mktemp("spliced"))


def pairs(recorded, *layers):
    names = ("mlp_in", "mlp_out")
    return Pairs.open(*([recorded[f"L{i}.{name}"].folder for i in layers] for name in names))


def as_map(model, layer):
    """(matrix [d_in, d_out], bias) of what an MLP does."""
    first, _, second = model.hf.get_submodule("blocks")[layer].mlp
    return (second.weight @ first.weight).T, second.weight @ first.bias + second.bias


def exact(model, *layers):
    """A dictionary that does what these MLPs do: two features for each input, one for each sign, relu each."""
    matrices, biases = zip(*(as_map(model, layer) for layer in layers), strict=True)
    n, eye = len(layers), torch.eye(WIDTH)
    if n == 1:
        made = dictionaries.make("l1", {"d_in": WIDTH, "d_out": WIDTH, "n_features": 2 * WIDTH, "k": 4})
    else:
        made = dictionaries.make(
            "crosslayer", {"d_in": n * WIDTH, "d_out": n * WIDTH, "n_features": 2 * n * WIDTH, "k": 4, "layers": n}
        )
    with torch.no_grad():
        made.b_dec.copy_(torch.cat(biases))
        encs, decs = ([made.enc], [made.dec]) if n == 1 else (made.enc, made.dec)
        for enc, dec, matrix in zip(encs, decs, matrices, strict=True):
            enc.copy_(torch.cat([eye, -eye]))
            dec.zero_()
            dec[:, :WIDTH] = torch.cat([matrix, -matrix])
    made.load_state_dict(made.state_dict())  # what is derived from the weights follows them
    return made


def losses(model, source, write, contexts):
    """Sum of the losses on the next tokens of the same document, and of KL from the model's own predictions."""
    tokens = torch.from_numpy(source.tokens[contexts].astype("int64"))
    documents = torch.from_numpy(source.documents[contexts])
    use = documents[:, 1:] == documents[:, :-1]
    own, new = (model.run(tokens, read=[LOGITS], write=w)[LOGITS][:, :-1].log_softmax(-1) for w in ({}, write))
    nll = -new.gather(2, tokens[:, 1:, None])[..., 0][use]
    return float(nll.double().sum()), float((own.exp() * (own - new)).sum(-1)[use].double().sum()), int(use.sum())


def put(y, keep):
    def write(x):
        x[keep] = y
        return x

    return write


def everything(model, source, subject):
    """Splice metrics' numerators over all held-out contexts."""
    sums, n = Splicer(model, source).measure({"": subject}, tokens=10**9, seed=0)
    return {name: float(each.num.sum()) for name, each in sums[""].items()}, n


def test_an_autoencoder_is_spliced_where_it_reads(model, recorded):
    source = recorded["L1.resid_post"]
    made = filled("l1", d_in=WIDTH, d_out=WIDTH, n_features=48, k=8)
    contexts = source.held_out.contexts
    keep = source.held_out.kept(contexts)
    tokens = torch.from_numpy(source.tokens[contexts].astype("int64"))
    x = model.run(tokens, read=[source.site])[source.site][keep]
    found, n = everything(model, source, made)
    for name, y in {
        "spliced": made.rebuild(x, made.encode(x)),
        "zeroed": torch.zeros_like(x),
        "averaged": source.mean.expand_as(x),
    }.items():
        nll, kl, count = losses(model, source, {source.site: put(y.detach(), keep)}, contexts)
        clean = found["ce"]
        if name == "spliced":
            assert found["ce_increase"] == pytest.approx(nll - clean, rel=1e-3, abs=1e-3)
            assert (found["kl"], n) == (pytest.approx(kl, rel=1e-3, abs=1e-3), count)
        else:
            over = "loss_recovered_zero" if name == "zeroed" else "loss_recovered_mean"
            assert found[over] == pytest.approx(nll - clean - found["ce_increase"], rel=1e-3, abs=1e-2)
    assert found["ce"] == pytest.approx(losses(model, source, {}, contexts)[0], rel=1e-5)


@pytest.mark.parametrize("layers", [(1,), (0, 1)])
def test_an_exact_transcoder_gives_the_models_own_loss(model, recorded, layers, tmp_path):
    made = exact(model, *layers)
    reads, writes = ([f"L{i}.{name}" for i in layers] for name in ("mlp_in", "mlp_out"))
    one = len(layers) == 1
    origin = {"site": reads[0] if one else reads, "writes": writes[0] if one else writes}
    folder = save(made, tmp_path / "d", *recorded.values(), **origin)
    folders = [recorded[site].folder for site in reads]
    found = evaluate(folder, folders, model, out=tmp_path / "e", splice_tokens=1_000).facts["metrics"]
    assert found["fvu"]["value"] < 1e-3, "what was stored is rounded"
    assert abs(found["ce_increase"]["value"]) < 1e-5 and abs(found["kl"]["value"]) < 1e-5
    if "loss_recovered_mean" in found:  # replacing the MLPs of a random model may cost it nothing
        assert found["loss_recovered_mean"]["value"] == pytest.approx(1, abs=1e-3)


def test_layers_of_a_cross_layer_transcoder_read_what_earlier_writes_made(model, recorded):
    source = pairs(recorded, 0, 1)
    made = filled("crosslayer", **PAIR, layers=2)
    contexts = source.held_out.contexts
    keep = source.held_out.kept(contexts)
    seen = {}

    def look(layer, x):
        seen[layer] = x[keep]
        return x

    def write(layer, x):
        known = torch.cat([seen[0], seen[1] if layer else seen[0]], 1)  # layer 0 writes without layer 1's input
        y = made.rebuild(known, made.encode(known)).detach()
        x[keep] = y[:, layer * WIDTH : (layer + 1) * WIDTH]
        return x

    writes = {Site("mlp_in", i): partial(look, i) for i in (0, 1)} | {
        Site("mlp_out", i): partial(write, i) for i in (0, 1)
    }
    nll, kl, _ = losses(model, source, writes, contexts)
    found, _ = everything(model, source, made)
    assert found["ce_increase"] == pytest.approx(nll - found["ce"], rel=1e-3, abs=1e-3)
    assert found["kl"] == pytest.approx(kl, rel=1e-3, abs=1e-3)


def test_a_crosscoder_writes_all_its_sites_from_one_clean_pass(model, recorded):
    sites = [Site("mlp_out", 0), Site("resid_post", 1)]
    source = Pairs.open([recorded[str(site)].folder for site in sites])
    made = filled("crosscoder", **PAIR, sites=[WIDTH, WIDTH])
    contexts = source.held_out.contexts
    keep = source.held_out.kept(contexts)
    tokens = torch.from_numpy(source.tokens[contexts].astype("int64"))
    got = model.run(tokens, read=sites)
    x = torch.cat([got[site][keep] for site in sites], 1)
    y = made.rebuild(x, made.encode(x)).detach()
    nll, kl, _ = losses(model, source, {sites[0]: put(y[:, :WIDTH], keep), sites[1]: put(y[:, WIDTH:], keep)}, contexts)
    found, _ = everything(model, source, made)
    assert found["ce_increase"] == pytest.approx(nll - found["ce"], rel=1e-3, abs=1e-3)
    assert found["kl"] == pytest.approx(kl, rel=1e-3, abs=1e-3)


def test_short_cuts_change_no_number(model, recorded, monkeypatch):
    source = recorded["L1.resid_post"]
    pca = LinearMap.fit(source, [4])[0]
    splicer = Splicer(model, source)
    assert splicer.shared and splicer.alike
    found, n = splicer.measure({"": pca}, tokens=1_500, seed=0)
    splicer.shared = splicer.alike = False
    monkeypatch.setattr(variants, "NUMBERS", 258 * 5)
    monkeypatch.setattr(splicing, "TOKENS_A_PASS", CONTEXT)
    again, m = splicer.measure({"": pca}, tokens=1_500, seed=0)
    assert n == m
    for name, each in found[""].items():
        assert each.num == pytest.approx(again[""][name].num, rel=1e-4, abs=1e-3)


def test_a_model_whose_blocks_pass_notes_to_later_ones_is_spliced_too(recorded, model):
    """Its blocks cannot be left out; what it needs is computed again for each variant."""
    made, notes = tiny_model(seed=3), {}
    blocks = made.hf.get_submodule("blocks")
    for block in blocks:
        block.mlp[1] = torch.nn.Identity()
    first, last = blocks[0].forward, blocks[2].forward

    def noting(x):
        notes["first"] = 0 * x
        return first(x)

    blocks[0].forward = noting
    blocks[2].forward = lambda x: last(x) + notes.pop("first")
    source = recorded["L1.resid_post"]
    pca = LinearMap.fit(source, [4])[0]
    splicer = Splicer(made, source)
    assert not splicer.shared
    found, wanted = (s.measure({"": pca}, tokens=500, seed=0)[0][""] for s in (splicer, Splicer(model, source)))
    for name, each in wanted.items():
        assert found[name].num == pytest.approx(each.num, rel=1e-4, abs=1e-3)


def test_a_splice_that_changes_the_model_stops_everything(model, recorded, tmp_path, monkeypatch):
    honest = splicing.put
    monkeypatch.setattr(splicing, "put", lambda y, keep: honest(1.1 * y, keep))
    acts = recorded["L1.resid_post"]
    folder = save(filled("l1", d_in=WIDTH, d_out=WIDTH, n_features=48, k=8), tmp_path / "d", acts, site=str(acts.site))
    with pytest.raises(BadInput, match="L1.resid_post back unchanged moves the loss by"):
        evaluate(folder, acts.folder, model, out=tmp_path / "e")
    assert not (tmp_path / "e" / "manifest.json").exists()


def test_positions_without_a_row_keep_what_the_model_computed(model, recorded):
    """A transcoder that is exact, but writes to the kept positions of the recording alone: others hold something that
    no row may replace."""
    source = Activations.open(recorded["L1.mlp_out"].folder)
    keep = source.held_out.kept(source.held_out.contexts)
    assert not keep[:, 0].any() and keep[:, 1:].any(), "the first position holds a BOS token"
    x = torch.randn(*keep.shape, WIDTH)
    rows = torch.randn(int(keep.sum()), WIDTH)
    written = splicing.put(rows, keep)(x.clone())
    assert torch.equal(written[~keep], x[~keep]) and torch.equal(written[keep], rows)
