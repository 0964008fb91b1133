"""Paths: their sum against the logits, circuits and scores against plain arithmetic and a hand-built induction head."""

import pytest
import torch

from physalis.errors import BadInput
from physalis.lab.toys.transformers.attention import Transformers, transformers
from physalis.lab.toys.transformers.paths import (
    bigrams,
    composition,
    copying,
    expand,
    ov_circuit,
    ov_eigenvalues,
    positive_share,
    prefix_matching,
    previous_token,
    qk_circuit,
)

VOCAB, LENGTH = 12, 16


def by_hand(*, shift: int) -> Transformers:
    """Layer 0 copies the token of the position before into dimensions of its own; layer 1 looks the current token up in
    what was copied (shift 1: an induction head), or in the tokens themselves (shift 0)."""
    v, t = VOCAB, LENGTH
    d = 2 * v + t
    zero = torch.zeros(d, d)
    sharp = 60.0 * d**0.5
    q0, k0, tokens, copied = zero.clone(), zero.clone(), zero.clone(), zero.clone()
    where = torch.arange(t)
    q0[2 * v + where, where] = sharp
    k0[2 * v + where[:-1], where[1:]] = 1.0
    tokens[range(v), range(v)] = 1.0
    copied[range(v), range(v, 2 * v)] = 1.0
    reads = copied.T.clone() if shift else tokens.clone()
    reads[2 * v] = -2.0 if shift else 0.0  # position 0 has nothing before it and attends to itself
    two = [torch.stack(each)[None, :, None] for each in ((q0, tokens * sharp), (k0, reads))]
    return Transformers(
        embed=torch.eye(v, d)[None],
        position=torch.eye(d)[None, 2 * v :],
        query=two[0],
        key=two[1],
        value=torch.stack([tokens, tokens])[None, :, None],
        output=torch.stack([copied, 2 * tokens])[None, :, None],
        unembed=5 * torch.eye(d, v)[None],
    )


def repeated() -> torch.Tensor:
    """[1, 4, t]: eight different tokens, twice."""
    order = torch.rand(1, 4, VOCAB, generator=torch.Generator().manual_seed(0)).argsort(-1)[..., : LENGTH // 2]
    return torch.cat([order, order], -1)


@pytest.mark.parametrize("layers", [0, 1, 2])
def test_paths_add_up_to_the_logits(layers):
    models = transformers(instances=2, vocab=7, length=9, layers=layers, heads=2, width=8, seed=1)
    models = models.mapped(lambda each: 3 * each.double())
    tokens = torch.randint(0, 7, (2, 3, 9), generator=torch.Generator().manual_seed(2))
    paths = expand(models, tokens)
    assert len(paths.heads) == 2 * layers and len(paths.pairs) == (4 if layers == 2 else 0)
    assert torch.allclose(paths.total(), models.logits(tokens), atol=1e-10)
    assert torch.allclose(
        paths.direct, torch.stack([table[each] for table, each in zip(bigrams(models), tokens, strict=True)])
    )
    if layers:
        elsewhere = expand(models, tokens, models.trace(tokens.flip(-1)).patterns).total()
        assert not torch.allclose(elsewhere, models.logits(tokens), atol=1e-2)


def test_three_layers_are_refused():
    models = transformers(instances=1, vocab=4, length=4, layers=3, width=4)
    tokens = torch.zeros(1, 1, 4, dtype=torch.long)
    with pytest.raises(BadInput, match="received 3"):
        expand(models, tokens)
    with pytest.raises(BadInput, match="received 3"):
        composition(models)


def test_circuits_say_what_a_head_does():
    models = transformers(instances=1, vocab=7, length=9, layers=1, heads=2, width=8).mapped(torch.Tensor.double)
    tokens = torch.tensor([[[4, 2, 5]]])
    trace = models.trace(tokens)
    attended = trace.patterns[0, 0, 0, 1] @ ov_circuit(models, (0, 1))[0][tokens[0, 0]]
    assert torch.allclose(trace.outputs[0, 0, 0, 1] @ models.unembed[0], attended)
    placeless = models.mapped(lambda each: each)
    placeless.position[:] = 0
    wanted = qk_circuit(placeless, (0, 1))[0][5][tokens[0, 0]].softmax(-1)
    assert torch.allclose(placeless.trace(tokens).patterns[0, 0, 0, 1, 2], wanted)


def test_eigenvalues_are_those_of_the_whole_circuit():
    models = transformers(instances=1, vocab=7, length=9, layers=1, heads=2, width=8).mapped(torch.Tensor.double)
    few = ov_eigenvalues(models, (0, 0))[0]
    whole = torch.linalg.eigvals(ov_circuit(models, (0, 0))[0])
    assert sorted(few.abs().tolist()) == pytest.approx(sorted(whole.abs().tolist())[-4:])
    assert few.sum().real.item() == pytest.approx(whole.sum().real.item())
    assert positive_share(ov_eigenvalues(by_hand(shift=1), (1, 0))).item() == pytest.approx(1)


def test_a_hand_built_induction_head_attends_right_after_the_previous_occurrence():
    """And a head that attends to the occurrence itself, one position before, matches no prefix."""
    tokens = repeated()
    right, short = by_hand(shift=1), by_hand(shift=0)
    scores = prefix_matching(right.trace(tokens).patterns, tokens)[0, :, 0].tolist()
    assert scores == pytest.approx([0, 1], abs=0.01)
    half = tokens.shape[-1] // 2
    pattern = right.trace(tokens).patterns[0, 1, 0, 0]
    assert pattern[half:].argmax(-1).tolist() == list(range(1, half + 1))
    assert prefix_matching(short.trace(tokens).patterns, tokens)[0, 1, 0].item() == pytest.approx(0, abs=0.01)
    assert previous_token(right.trace(tokens).patterns)[0, :, 0].tolist() == pytest.approx([1, 0], abs=0.2)
    assert (right.logits(tokens)[0, :, half:-1].argmax(-1) == tokens[0, :, half + 1 :]).all()
    share = [1.0, *(1 / at for at in range(1, half)), *[1.0] * half]  # before anything repeats it attends to all alike
    raised = 10 * (sum(share) / len(share) - 1 / VOCAB)
    assert copying(right, tokens)[0, 1, 0].item() == pytest.approx(raised, abs=0.01)


def test_an_induction_head_composes_through_keys():
    found = composition(by_hand(shift=1))
    assert found.query.item() == 0 and found.key.item() > 0.1 and found.value.item() == 0
    models = transformers(instances=1, vocab=7, length=9, layers=2, heads=2, width=8)
    wrote = models.value[0, 0, 1] @ models.output[0, 0, 1]
    asked = models.query[0, 1, 0] @ models.key[0, 1, 0].T
    share = (wrote @ asked.T).norm() / (wrote.norm() * asked.norm())
    assert composition(models).key[0, 0, 1].item() == pytest.approx(share.item())
