"""A part that is the variable answers as the algorithm does; one that is not, no more often than nothing does."""

import itertools

import pytest
import torch
from made_models import wrapped

from physalis.errors import BadInput
from physalis.models import TinyConfig
from physalis.models.tiny import untrained
from physalis.patching import Algorithm, Node, interchange_values
from physalis.site import Site

EMBED = Node(Site("embed"))


@pytest.fixture(scope="module")
def two_bits():
    """Token 2a + b of four stands at (a, b), turned by 45 degrees, in the first two of four coordinates; the model says
    the token that it reads."""
    module = untrained(TinyConfig(n_layers=1, d_model=4, n_heads=1, d_mlp=2))
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if "norm" not in name:
                parameter.zero_()
        bits = torch.tensor([[-1.0, -1], [-1, 1], [1, -1], [1, 1]])
        turned = bits @ torch.tensor([[1.0, 1], [1, -1]]) / 2**0.5
        module.embed.weight[:4, :2] = turned
        module.unembed.weight[:4, :2] = turned
    return wrapped(module)


FIRST = Algorithm(
    variable=lambda contexts: contexts[:, -1] // 2, answer=lambda contexts, a: 2 * a + contexts[:, -1] % 2
)
RUNS = tuple(torch.tensor([[3, pair[i]] for pair in itertools.product(range(4), repeat=2)]) for i in (0, 1))
BIT = torch.tensor([[1.0, 1, 0, 0]])


def test_the_subspace_of_a_bit_is_the_variable(two_bits):
    found = interchange_values(two_bits, *RUNS, EMBED, FIRST, subspace=BIT)
    assert found.accuracy == 1 and found.unchanged == 0.5
    assert torch.equal(found.matters, found.before != found.expected)
    assert repr(found) == "Interchange(1.000 of 16, 0.500 without it)"


@pytest.mark.parametrize("scale", [0.1, 7.0])
def test_its_basis_does_not_matter(two_bits, scale):
    rows = scale * torch.cat([BIT, BIT + torch.tensor([[0.0, 0, 1, 0]])])
    assert interchange_values(two_bits, *RUNS, EMBED, FIRST, subspace=rows).accuracy == 1


def test_other_parts_are_not(two_bits):
    other = torch.tensor([[1.0, -1, 0, 0]])
    assert interchange_values(two_bits, *RUNS, EMBED, FIRST, subspace=other).accuracy == 0.25
    assert interchange_values(two_bits, *RUNS, EMBED, FIRST).accuracy == 0.5  # all of it: the other bit comes too
    idle = interchange_values(two_bits, *RUNS, Node(Site("embed"), (2, 4)), FIRST)
    assert idle.accuracy == idle.unchanged == 0.5
    before = interchange_values(two_bits, *RUNS, EMBED, FIRST, subspace=BIT, positions=slice(0, 1))
    assert before.accuracy == 0.5


def test_an_answer_may_stand_anywhere(two_bits):
    base, source = (torch.cat([each, torch.zeros_like(each)], 1) for each in RUNS)
    algorithm = Algorithm(
        variable=lambda contexts: contexts[:, 1] // 2, answer=lambda contexts, a: 2 * a + contexts[:, 1] % 2
    )
    assert interchange_values(two_bits, base, source, EMBED, algorithm, subspace=BIT, at=1).accuracy == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"subspace": torch.ones(1, 3)}, "4 columns; received a subspace of rows 3 wide"),
        ({"subspace": torch.ones(2, 4)}, "2 rows of the subspace depend on each other"),
        ({"at": 2}, "2 tokens; received position 2"),
        ({"algorithm": Algorithm(variable=lambda c: c, answer=lambda c, a: a)}, r"one value for each of 16 contexts"),
    ],
)
def test_what_cannot_be_interchanged_is_refused(two_bits, options, said):
    algorithm = options.pop("algorithm", FIRST)
    with pytest.raises(BadInput, match=said):
        interchange_values(two_bits, *RUNS, EMBED, algorithm, **options)
