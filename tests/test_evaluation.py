"""Evaluation: the identity check, what splicing must give, and that everything belongs together."""

import pytest
import torch

from physalis import artifact, evaluation, metrics
from physalis.errors import BadInput
from physalis.evaluation import PCA, evaluate, splice_at
from physalis.models.tiny import tiny_model
from physalis.recording import record
from physalis.site import Site


@pytest.fixture(scope="module")
def facts(tiny_evaluation):
    return artifact.read(tiny_evaluation, "evaluation").facts


def test_every_metric_has_a_value_and_an_interval(facts):
    named = {m.__name__ for m in (*metrics.RECONSTRUCTION, *metrics.SPLICE, *metrics.FIRING)}
    assert set(facts["metrics"]) == named
    for estimate in facts["metrics"].values():
        assert estimate["low"] <= estimate["value"] <= estimate["high"]


def test_it_stands_beside_its_baselines(facts):
    pca, frozen = (b["metrics"] for b in facts["baselines"])
    assert facts["metrics"]["fvu"]["value"] < frozen["fvu"]["value"] < 1
    assert facts["metrics"]["fvu"]["value"] < pca["fvu"]["value"] < 1
    assert set(frozen) == set(facts["metrics"])


def test_fvu_is_what_it_says(tiny_activations, tiny_dictionary, facts):
    from physalis import dictionaries

    d = dictionaries.load(tiny_dictionary)
    x = torch.cat([part.x.float() for part in tiny_activations.held_out.ordered(10_000)])
    fvu = (x - d.decode(d.encode(x))).square().sum() / (x - tiny_activations.mean).square().sum()
    assert facts["metrics"]["fvu"]["value"] == pytest.approx(float(fvu), rel=1e-4)


def test_pca_is_the_best_linear_map_of_its_rank(tiny_activations):
    pca = PCA.fit(tiny_activations, 3)
    x = torch.cat([part.x.float() for part in tiny_activations.train.ordered(10_000)]) - tiny_activations.mean
    left = (x - pca.rebuild(x + tiny_activations.mean) + tiny_activations.mean).square().sum()
    wanted = torch.linalg.svdvals(x)[3:].square().sum()
    assert float(left) == pytest.approx(float(wanted), rel=1e-3)


def test_splicing_leaves_alone_what_hygiene_left_out(tiny, tiny_activations):
    x = torch.randn(2, 32, tiny_activations.d)
    written = splice_at(tiny_activations, torch.zeros_like)(x)
    keep = tiny_activations.hygiene.keep(x)
    assert torch.equal(written[~keep], x[~keep]) and (~keep).any()
    assert (written[keep] == 0).all()


def test_a_splice_that_changes_the_model_stops_everything(
    tiny, tiny_activations, tiny_dictionary, tmp_path, monkeypatch
):
    honest = evaluation.splice_at
    monkeypatch.setattr(evaluation, "splice_at", lambda acts, rebuild: honest(acts, lambda x: 1.1 * rebuild(x)))
    with pytest.raises(BadInput, match="back unchanged moves the loss by"):
        evaluate(tiny_dictionary, tiny_activations.folder, tiny, out=tmp_path / "e")
    assert not (tmp_path / "e" / artifact.MANIFEST).exists()


def test_what_does_not_belong_together_is_refused(tiny, tiny_text, tiny_activations, tiny_dictionary, tmp_path):
    with pytest.raises(BadInput, match="another model"):
        evaluate(tiny_dictionary, tiny_activations.folder, tiny_model(seed=1), out=tmp_path / "a")
    elsewhere = record(tiny, str(tiny_text), [Site("mlp_out", 1)], [tmp_path / "acts"], tokens=2_000, context=32)[0]
    with pytest.raises(BadInput, match="The dictionary reads L1.resid_post, these activations are of L1.mlp_out"):
        evaluate(tiny_dictionary, elsewhere.folder, tiny, out=tmp_path / "b")
    with pytest.raises(BadInput, match="holds 'activations', not 'dictionary'"):
        evaluate(tiny_activations.folder, tiny_activations.folder, tiny, out=tmp_path / "c")


def test_run_again_it_is_only_read(tiny, tiny_activations, tiny_dictionary, tiny_evaluation, monkeypatch):
    monkeypatch.setattr(evaluation, "check_identity", None)
    again = evaluate(tiny_dictionary, tiny_activations.folder, tiny, out=tiny_evaluation, splice_tokens=320)
    assert again == artifact.read(tiny_evaluation, "evaluation")
