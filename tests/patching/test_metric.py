"""Metrics are what their names say, of each context alone, and refuse what has no such number."""

import pytest
import torch

from physalis.errors import BadInput
from physalis.models import tiny_model
from physalis.patching import Along, LogitDifference, LogProbability, measure, measure_with_gradients
from physalis.site import Site

LOGITS = Site("logits")


@pytest.fixture(scope="module")
def model():
    return tiny_model()


TOKENS = torch.arange(24).view(3, 8)


@pytest.mark.parametrize("position", [-1, 0, 5, -8])
def test_they_are_what_the_logits_say(model, position):
    logits = model.run(TOKENS, read=[LOGITS])[LOGITS][:, position]
    right, wrong = torch.tensor([4, 5, 6]), torch.tensor([1, 1, 200])
    rows = torch.arange(3)
    found = measure(model, LogitDifference(right, wrong, position), TOKENS)
    torch.testing.assert_close(found, logits[rows, right] - logits[rows, wrong])
    found = measure(model, LogProbability(9, position), TOKENS)
    torch.testing.assert_close(found, logits.log_softmax(-1)[:, 9])


def test_along_is_a_dot_product(model):
    site, direction = Site("resid_mid", 1), torch.linspace(-1, 1, 32)
    x = model.run(TOKENS, read=[site])[site]
    torch.testing.assert_close(measure(model, Along(site, direction, 2), TOKENS), x[:, 2] @ direction)


def test_they_can_be_differentiated(model):
    added = torch.zeros(3, 8, 32, requires_grad=True)
    write = {Site("embed"): lambda x: x + added}
    measure_with_gradients(model, LogitDifference(1, 2, 3), TOKENS, write=write)[0].backward()
    assert added.grad is not None
    assert added.grad[0, 3].any() and not added.grad[1:].any() and not added.grad[0, 4:].any()


@pytest.mark.parametrize(
    ("metric", "said"),
    [
        (LogitDifference(0, 1, 8), "8 tokens; received position 8"),
        (LogitDifference(0, 1, -9), "received position -9"),
        (LogitDifference(0, 258), "ids 0 to 257; received ids from 258"),
        (LogitDifference(torch.tensor([1, 2]), 0), "3 contexts; received 2 token ids"),
        (LogProbability(-1), "received ids from -1"),
        (Along(Site("z", 0), torch.zeros(5)), "L0.z is 32 wide; received a direction of 5"),
        (Along(Site("attn_pattern", 0), torch.zeros(8)), "L0.attn_pattern has no row for each position"),
        (Along(Site("mlp_gate", 0), torch.zeros(8)), "no L0.mlp_gate"),
    ],
)
def test_what_cannot_be_measured_is_refused(model, metric, said):
    with pytest.raises(BadInput, match=said):
        measure(model, metric, TOKENS)
