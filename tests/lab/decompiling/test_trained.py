"""What small transformers learned is read back: addition as waves, sorting and brackets as steps."""

import numpy as np
import pytest
import torch

from physalis.errors import BadInput
from physalis.lab.decompiling import TOYS, addition, brackets, read_program, sorting
from physalis.lab.decompiling.programs import prelude
from physalis.lab.toys.transformers import adder, learn
from physalis.models.shuffling import shuffled

MAKE = {
    "addition": lambda: addition(p=17, width=32, neurons=64, share=0.85, steps=700),
    "sorting": lambda: sorting(n_letters=10, length=4, steps=250),
    "brackets": lambda: brackets(length=9, width=24, neurons=32, steps=300, lr=5e-3),
}
LINES = {
    "addition": "return sum(size * cos(2 * pi * k * (a + b - c) / 17) for k, size in waves.items())",
    "sorting": "aggregate(least(select_past(token, token, lambda key, query: key > query)), token)",
    "brackets": "exists(select_past(mean_step_and_start, token, lambda key, query: key < 0))",
}


@pytest.fixture(scope="module", params=MAKE)
def toy(request):
    return MAKE[request.param]()


@pytest.fixture(scope="module")
def found(toy):
    return read_program(toy.model, toy.inputs(1500), asked=toy.asked, name=toy.name)


def test_it_learned(toy):
    assert toy.accuracy(500, seed=1) >= 0.99


def test_the_program_agrees_with_the_model(toy, found):
    assert found.is_read and found.share["value"] >= 0.99
    assert found.kind == ("waves" if toy.name == "addition" else "steps")
    assert found.baseline["value"] < 0.5 and found.program.length < found.table_length / 50
    assert LINES[toy.name] in str(found)


def test_what_is_printed_is_what_runs(toy, found):
    names = {name: getattr(prelude, name) for name in prelude.__all__}
    exec(str(found.program), names)  # the program is text of our own, and to be run is what it is for
    words = toy.model.tokenizer.words
    start = int(toy.name != "addition")
    inputs = [[words[i] for i in each[start:]] for each in toy.inputs(50, seed=3)]
    assert [tuple(names[toy.name](each)) for each in inputs] == found.program.run(inputs)


def test_shuffled_weights_have_no_program(toy):
    control = read_program(shuffled(toy.model), toy.inputs(600), asked=toy.asked)
    assert not control.is_read and control.why


def test_the_same_seed_draws_the_same(toy):
    assert toy.inputs(5) == toy.inputs(5) != toy.inputs(5, seed=1)
    assert {toy.name} < {make.__name__ for make in TOYS}


def test_answers_are_right(toy):
    tokens, right = toy.draw(np.random.default_rng(0), 40)
    words = [*toy.model.tokenizer.words]
    for row, answers in zip(tokens, right, strict=True):
        said = [words[i] for i in answers]
        read = [words[i] for i in row]
        if toy.name == "addition":
            assert said == [str((int(read[0]) + int(read[1])) % 17)] and read[2] == "="
        elif toy.name == "sorting":
            assert said == sorted(read[1:5]) and read[6:] == said[:-1] and len({*said}) == 4
        else:
            heights = np.cumsum([1 if each == "(" else -1 for each in read[1:]])
            for i, label in enumerate(said):
                broken = (heights[: i + 1] < 0).any()
                assert label == ("broken" if broken else "open" if heights[i] else "balanced")


def test_the_same_seed_trains_the_same():
    small = [brackets(length=4, width=8, neurons=8, steps=2, seed=seed).model.fingerprint for seed in (0, 0, 1)]
    assert small[0] == small[1] != small[2]


def test_addition_is_the_adder_that_learned():
    """By its own forward pass: every pair is answered as the tables of its weights say."""
    toy = addition(p=7, width=16, heads=2, neurons=24, steps=60, seed=2)
    own = learn(adder(p=7, width=16, heads=2, neurons=24, seed=2), share=0.7, steps=60, lr=3e-3, every=60, seed=2)
    tokens = [[a, b, 7] for a in range(7) for b in range(7)]
    logits = toy.model.hf(torch.tensor(tokens)).logits[:, -1, :7].view(7, 7, 7)
    assert torch.allclose(logits, own.kept[-1].table(), atol=1e-4)


def test_bad_sizes_are_told():
    with pytest.raises(BadInput, match="length of 12 of 5 letters"):
        sorting(n_letters=5, length=12)
