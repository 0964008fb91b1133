"""evaluate: every kind of dictionary against six lines of plain torch, its baselines, and what belongs together."""

import numpy as np
import pytest
import torch
from judged import filled, record_all, rows, save, write_text
from planted import ROWS, D, write_activations

from physalis import artifact, metrics
from physalis.activations import Activations, Pairs
from physalis.cli.shown import printing
from physalis.errors import BadInput
from physalis.evaluation import Counted, Evaluation, LinearMap, evaluate, evaluating, reconstructions
from physalis.models.tiny import tiny_model
from physalis.recording import record
from physalis.site import Site
from physalis.training.training import train

WIDTH, FEATURES = 32, 48


@pytest.fixture(scope="module")
def recorded(tiny, tmp_path_factory):
    return record_all(tiny, tmp_path_factory.mktemp("judged"))


@pytest.fixture(scope="module")
def facts(tiny_evaluation):
    return artifact.read(tiny_evaluation, "evaluation").facts


def relu_codes(w, x):
    return torch.relu((x - w["centre"]) @ w["enc"].T + w["b_enc"])


def thresholded_codes(w, x):
    pre = (x - w["centre"]) @ w["enc"].T + w["b_enc"]
    return pre * (pre > w["threshold"])


def plain(w, x):
    return relu_codes(w, x) @ w["dec"] + w["b_dec"]


def with_skip(w, x):
    return plain(w, x) + (x - w["centre"]) @ w["skip"].T


def normalised(w, x):
    mean, std = x.mean(1, keepdim=True), x.std(1, keepdim=True)
    return plain(w, (x - mean) / std) * std + mean


def joined(w, x):
    return thresholded_codes(w, x) @ w["dec"] + w["b_dec"]


def across_layers(w, x):
    y = w["b_dec"].expand(len(x), -1).clone()
    for layer, each in enumerate((slice(0, WIDTH), slice(WIDTH, 2 * WIDTH))):
        mine = slice(layer * FEATURES, (layer + 1) * FEATURES)
        pre = (x[:, each] - w["centre"][each]) @ w[f"enc.{layer}"].T + w["b_enc"][mine]
        y[:, layer * WIDTH :] += pre * (pre > w["threshold"][mine]) @ w[f"dec.{layer}"]
    return y


ONE = {"d_in": WIDTH, "d_out": WIDTH, "n_features": FEATURES, "k": 8}
TWO = {"d_in": 2 * WIDTH, "d_out": 2 * WIDTH, "n_features": 2 * FEATURES, "k": 8}
IN, OUT = ["L0.mlp_in", "L1.mlp_in"], ["L0.mlp_out", "L1.mlp_out"]
KINDS = {
    "autoencoder": ("l1", ONE, ["L1.resid_post"], [], plain),
    "transcoder": ("l1", ONE, IN[1:], OUT[1:], plain),
    "skip": ("l1", ONE | {"skip": True}, IN[1:], OUT[1:], with_skip),
    "layer norm": ("l1", ONE | {"layer_norm": True}, ["L1.resid_post"], [], normalised),
    "crosscoder": ("crosscoder", TWO | {"sites": [WIDTH, WIDTH]}, ["L0.mlp_out", "L1.resid_post"], [], joined),
    "cross-layer": ("crosslayer", TWO | {"layers": 2}, IN, OUT, across_layers),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_judged_by_what_it_predicts(kind, recorded, tiny, tmp_path):
    name, shape, reads, writes, rebuild = KINDS[kind]
    made = filled(name, **shape)
    folders = [recorded[site].folder for site in reads]
    origin = {"site": reads if len(reads) > 1 else reads[0]}
    if writes:
        origin["writes"] = writes if len(writes) > 1 else writes[0]
    folder = save(made, tmp_path / "d", *recorded.values(), **origin)
    found = evaluate(folder, folders, tiny, out=tmp_path / "e", splice_tokens=320).facts

    joins = [Activations.open(recorded[site].folder) for site in writes or reads]
    mean = torch.cat([each.mean for each in joins])
    source = Pairs.open(folders, [each.folder for each in joins]) if writes or len(reads) > 1 else joins[0]
    x, y = rows(source.held_out)
    y_hat = rebuild(made.state_dict(), x)
    fvu = float((y - y_hat).square().sum() / (y - mean).square().sum())
    assert found["metrics"]["fvu"]["value"] == pytest.approx(fvu, rel=1e-3)
    cosine = torch.nn.functional.cosine_similarity(y - mean, y_hat - mean).mean()
    assert found["metrics"]["cosine"]["value"] == pytest.approx(float(cosine), abs=1e-3)
    for i, site in enumerate(writes or reads) if len(joins) > 1 else ():
        at = slice(i * WIDTH, (i + 1) * WIDTH)
        part = (y - y_hat)[:, at].square().sum() / (y - mean)[:, at].square().sum()
        assert found["sites"][site]["value"] == pytest.approx(float(part), rel=1e-3)


def test_every_metric_has_a_value_and_an_interval_over_documents(recorded, tiny, tmp_path):
    acts = recorded["L1.resid_post"]
    folder = save(filled("l1", **ONE), tmp_path / "d", acts, site="L1.resid_post")
    found = evaluate(folder, acts.folder, tiny, out=tmp_path / "e", splice_tokens=1_000).facts
    every = {m.__name__ for m in (*metrics.RECONSTRUCTION, *metrics.SPLICE, *metrics.FIRING)}
    untold = {"loss_recovered_zero", "loss_recovered_mean"}  # where replacing the site costs this random model nothing
    assert every - untold <= set(found["metrics"]) <= every
    for estimate in found["metrics"].values():
        assert estimate["low"] <= estimate["value"] <= estimate["high"]
    held = acts.documents[acts.held_out.contexts]
    kept = acts.held_out.kept(acts.held_out.contexts).numpy()
    assert found["documents"]["held_out"] == len(np.unique(held[kept])) > 10


def test_too_few_documents_have_no_interval(tiny, tmp_path, capsys):
    text = write_text(tmp_path / "text", files=4)
    [acts] = record(tiny, str(text), [Site("resid_post", 1)], [tmp_path / "a"], tokens=900, context=32, held_out=0.3)
    folder = save(filled("l1", **ONE), tmp_path / "d", acts, site="L1.resid_post")
    found = evaluate(folder, acts.folder, tiny, out=tmp_path / "e")
    held = acts.documents[acts.held_out.contexts]
    assert found.facts["documents"]["held_out"] == len(np.unique(held)) < metrics.ENOUGH
    fvu = found.facts["metrics"]["fvu"]
    assert fvu["low"] is None and found.facts["metrics"]["dead_fraction"]["low"] is not None
    printing.show(found, json=False)
    said = " ".join(capsys.readouterr().out.split())
    assert f"{fvu['value']:.3f}" in said and "[–]" in said and "too few for one: record more" in said


def test_it_stands_beside_its_baselines(facts):
    pca, frozen, mean = (b["metrics"] for b in facts["baselines"])
    assert facts["metrics"]["fvu"]["value"] < frozen["fvu"]["value"] < 1 == mean["fvu"]["value"]
    assert facts["metrics"]["fvu"]["value"] < pca["fvu"]["value"] < 1
    assert set(frozen) == set(facts["metrics"])


def test_what_was_spliced_is_counted(recorded, tiny, tmp_path):
    acts = recorded["L1.resid_post"]
    folder = save(filled("l1", **ONE), tmp_path / "d", acts, site="L1.resid_post")
    found = evaluate(folder, acts.folder, tiny, out=tmp_path / "e", splice_tokens=10_000_000).facts
    held = acts.documents[acts.held_out.contexts]
    assert found["n_spliced"] == int((held[:, 1:] == held[:, :-1]).sum()) < held.size - len(held)
    few = evaluate(folder, acts.folder, tiny, out=tmp_path / "f", splice_tokens=1).facts["n_spliced"]
    assert 0 < few < acts.context


def test_nothing_is_spliced_without_a_model(recorded, tmp_path):
    acts = recorded["L1.resid_post"]
    folder = save(filled("l1", **ONE), tmp_path / "d", acts, site="L1.resid_post")
    found = evaluate(folder, acts.folder, None, out=tmp_path / "e").facts
    assert "no model" in found["not_spliced"] and found["n_spliced"] == 0
    assert "fvu" in found["metrics"] and "ce" not in found["metrics"]


def test_a_crosscoder_of_two_models_is_judged_by_what_it_rebuilds(recorded, tmp_path, physalis):
    other = record_all(tiny_model(seed=1), tmp_path)["L1.resid_post"]
    both = Pairs.open([recorded["L1.resid_post"].folder, other.folder])
    made = filled("crosscoder", **TWO, sites=[WIDTH, WIDTH])
    train(both, [made.config], [tmp_path / "d"], batch_size=512, epochs=1)
    code, said, _ = physalis(
        "evaluate", tmp_path / "d", recorded["L1.resid_post"].folder, other.folder, "--out", tmp_path / "e"
    )
    assert code == 0 and "Nothing was spliced" in said and "several models" in " ".join(said.split())
    found = artifact.read(tmp_path / "e", "evaluation").facts
    assert 0 < found["metrics"]["fvu"]["value"] and len(found["sites"]) == 2


def test_firings_are_counted_on_one_text(recorded):
    acts = recorded["L1.resid_post"]
    made = filled("l1", **ONE)
    held, trained = acts.held_out.n_tokens, acts.train.n_tokens
    assert Counted.of(acts, held) == (True, held)
    assert Counted.of(acts, held + 1) == (False, held + 1)
    assert Counted.of(acts, 10**9) == (False, trained)
    for wanted, part in ((10**9, acts.train), (1, acts.held_out)):
        dead = reconstructions(acts, {"": made}, {}, firing_tokens=wanted)[1][""]["dead_fraction"]["value"]
        fired = relu_codes(made.state_dict(), rows(part)[0]) > 0
        assert dead == pytest.approx(float((~fired.any(0)).float().mean()))


def test_a_map_is_the_best_of_its_rank(recorded):
    """Eckart and Young for an autoencoder; for a transcoder no other map of the rank, nor its own rank + 1, is as
    good."""
    acts = recorded["L1.resid_post"]
    pca = LinearMap.fit(acts, [3])[0]
    x = rows(acts.train)[0]
    wanted = torch.linalg.svdvals(x - acts.mean)[3:].square().sum()
    assert float((x - pca.rebuild(x)).square().sum()) == pytest.approx(float(wanted), rel=1e-2)
    pairs = Pairs.open([recorded["L1.mlp_in"].folder], [recorded["L1.mlp_out"].folder])
    x, y = rows(pairs.train)
    maps = LinearMap.fit(pairs, [2, 3, WIDTH])
    left = [float((y - each.rebuild(x)).square().sum()) for each in maps]
    assert left[0] > left[1] > left[2]
    solved = torch.linalg.lstsq(torch.cat([x, torch.ones(len(x), 1)], 1), y).solution
    best = torch.cat([x, torch.ones(len(x), 1)], 1) @ solved
    assert left[2] == pytest.approx(float((y - best).square().sum()), rel=1e-2)
    again = torch.linalg.svd(best - best.mean(0), full_matrices=False)
    of_two = best.mean(0) + (again.U[:, :2] * again.S[:2]) @ again.Vh[:2]
    assert left[0] == pytest.approx(float((y - of_two).square().sum()), rel=1e-2)


def test_baselines_are_fitted_all_over_the_text(tmp_path):
    """In a text whose first half varies along one direction and whose second along another, both are found in a few
    rows."""
    q, n = torch.linalg.qr(torch.randn(D, D))[0], ROWS // 2
    x = 0.01 * torch.randn(ROWS, D)
    x[:n] += torch.randn(n, 1) * q[0]
    x[n:] += torch.randn(n, 1) * q[1]
    acts = Activations.open(write_activations(tmp_path / "a", x))
    pca = LinearMap.fit(acts, [2], rows=1_000)[0]
    inside = (pca.writes @ q[:2].T).square().sum()
    assert float(inside) == pytest.approx(2, abs=0.02)


def test_what_does_not_belong_together_is_refused(tiny, tiny_text, tiny_activations, tiny_dictionary, tmp_path):
    with pytest.raises(BadInput, match="another model"):
        evaluate(tiny_dictionary, tiny_activations.folder, tiny_model(seed=1), out=tmp_path / "a")
    elsewhere = record(tiny, str(tiny_text), [Site("mlp_out", 1)], [tmp_path / "acts"], tokens=2_000, context=32)[0]
    with pytest.raises(BadInput, match="The dictionary reads L1.resid_post, these activations are of L1.mlp_out"):
        evaluate(tiny_dictionary, elsewhere.folder, tiny, out=tmp_path / "b")
    with pytest.raises(BadInput, match="holds a recording, not a dictionary"):
        evaluate(tiny_activations.folder, tiny_activations.folder, tiny, out=tmp_path / "c")


def test_run_again_it_is_only_read(tiny, tiny_activations, tiny_dictionary, tiny_evaluation, monkeypatch):
    monkeypatch.setattr(evaluating, "Splicer", None)
    again = evaluate(tiny_dictionary, tiny_activations.folder, tiny, out=tiny_evaluation, splice_tokens=320)
    assert again == Evaluation.open(tiny_evaluation)


def test_what_is_printed_says_what_it_stands_on(facts, tiny_evaluation, capsys):
    printing.show(artifact.read(tiny_evaluation, "evaluation"), json=False)
    said = " ".join(capsys.readouterr().out.split())
    fvu = facts["metrics"]["fvu"]
    assert f"{fvu['value']:.3f}" in said and f"[{fvu['low']:.3f}, {fvu['high']:.3f}]" in said
    assert f"Spliced: {facts['n_spliced']:,} predictions" in said
    assert f"counted on {facts['firing']['tokens']:,} tokens of the training text" in said
