"""A dictionary that learned nothing: as wide, as sparse, worse than one that was trained, and taken by every verb."""

import pytest
import torch

from physalis import artifact, dictionaries
from physalis.errors import BadInput
from physalis.evaluation import evaluate, random_dictionary
from physalis.explanations import explain
from physalis.verifying import verify


@pytest.fixture(scope="module")
def chance(tiny_dictionary, tiny_activations, tmp_path_factory):
    """The folder."""
    out = tmp_path_factory.mktemp("chance") / "dictionary"
    random_dictionary(tiny_dictionary, tiny_activations, out)
    return out


def test_it_is_as_wide_and_as_sparse(chance, tiny_dictionary):
    made, given = (dictionaries.load(each) for each in (chance, tiny_dictionary))
    assert (made.config.n_features, made.config.k) == (given.config.n_features, given.config.k)
    assert verify(chance).right
    assert torch.allclose(made.W_dec.norm(dim=1), torch.ones(made.config.n_features), atol=1e-5)
    assert float((made.W_dec @ given.W_dec.T).abs().max(1).values.mean()) < 0.75


def test_it_reads_along_what_it_writes_and_knows_little(chance, tiny, tiny_activations, tiny_evaluation, tmp_path):
    made = dictionaries.load(chance)
    assert torch.allclose(torch.nn.functional.normalize(made.W_enc.T, dim=1), made.W_dec, atol=1e-4)
    found = evaluate(chance, tiny_activations.folder, tiny, out=tmp_path / "evaluation", splice_tokens=320)
    learned = artifact.read(tiny_evaluation, "evaluation").facts["metrics"]["fvu"]["value"]
    assert learned < found.facts["metrics"]["fvu"]["value"] < 1


def test_it_is_explained_like_any_other(chance, tiny, tiny_activations, tmp_path):
    assert len(explain(chance, tiny_activations, tiny, tmp_path / "rules", features=[0, 1])) == 2


def test_again_it_is_the_same_and_another_seed_another(chance, tiny_dictionary, tiny_activations, tmp_path):
    again = random_dictionary(tiny_dictionary, tiny_activations, tmp_path / "again")
    other = random_dictionary(tiny_dictionary, tiny_activations, tmp_path / "other", seed=1)
    assert torch.equal(again.W_dec, dictionaries.load(chance).W_dec) and not torch.equal(again.W_dec, other.W_dec)
    with pytest.raises(BadInput):
        random_dictionary(tiny_dictionary, tiny_activations, tmp_path / "again", seed=1)
