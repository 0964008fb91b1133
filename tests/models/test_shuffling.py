"""shuffled: a model that keeps its weights' values and nothing of what they say."""

import torch

from physalis.models import shuffled, tiny_model
from physalis.site import Site


def test_every_matrix_keeps_its_values_and_not_their_order():
    model = tiny_model()
    other = shuffled(model, seed=1)
    before, after = dict(model.hf.named_parameters()), dict(other.hf.named_parameters())
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {name for name, p in before.items() if p.ndim > 1 and name.startswith(model.family.blocks)}
    assert 0 < len(changed) < len(before)
    for name in changed:
        assert torch.equal(before[name].flatten().sort().values, after[name].flatten().sort().values)


def test_it_is_another_model_and_the_same_each_time():
    model = tiny_model()
    one, again, other = shuffled(model), shuffled(model), shuffled(model, seed=2)
    prints = [each.fingerprint for each in (model, one, other)]
    assert len(set(prints)) == 3 and one.fingerprint == again.fingerprint
    assert one.tokenizer_fingerprint == model.tokenizer_fingerprint
    tokens, site = torch.arange(20)[None], Site("resid_post", 1)
    kept, lost = (each.run(tokens, read=[site])[site] for each in (model, one))
    assert kept.shape == lost.shape and lost.isfinite().all() and not torch.allclose(kept, lost, atol=1e-2)
