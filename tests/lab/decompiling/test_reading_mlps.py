"""What an MLP writes becomes a variable of few values, in the shortest words; a long table is left alone."""

from zlib import crc32

import numpy as np
import pytest

from physalis.lab.decompiling.passes import Passes
from physalis.lab.decompiling.programs.functions import Lookup, Sum, Together
from physalis.lab.decompiling.reading_mlps import read_mlp
from physalis.lab.decompiling.workbench import MATTERS_NOT, NOTHING_NEW, Workbench
from physalis.lab.rasp import aggregate, compile_program, elementwise, indices, select, tokens
from physalis.site import Site

LETTERS, LONGEST = ("a", "b", "c", "d"), 6
RANDOM = np.random.default_rng(0)
WORDS = [tuple(RANDOM.choice(LETTERS, size=n).tolist()) for n in RANDOM.integers(1, LONGEST + 1, 500)]
WORDS = [*dict.fromkeys(WORDS)]
SITE = Site("mlp_out", 0)


def read(program, letters=LETTERS, longest=LONGEST, words=WORDS, beside=()) -> Workbench:
    compiled = compile_program(program, vocabulary=letters, context=longest, causal=False, beside=beside)
    passes = Passes(compiled.model, [compiled.encode([each])[0].tolist() for each in words], slice(1, None))
    learns = np.arange(len(words)) % 3 < 2
    bench = Workbench(passes, words, learns, causal=False, tolerance=0.01, parts=2)
    read_mlp(bench, 0)
    return bench


@pytest.mark.parametrize(("fn", "of", "kind", "reads"), [
    (lambda token: {"a": 1, "b": 2, "c": 1, "d": 3}[token], [tokens], Lookup, ("token",)),
    (lambda token, i: (i + ord(token)) % 2, [tokens, indices], Lookup, ("token", "position")),
    (lambda token, i: f"{token}{i}", [tokens, indices], Together, ("token", "position")),
])  # fmt: skip
def test_a_function_is_found(fn, of, kind, reads):
    bench = read(elementwise(fn, *of))
    (step,) = bench.steps
    assert isinstance(step.function, kind) and {*step.of} == {*reads} and step.component == "L0.mlp"
    made = elementwise(fn, *of)
    truth = {}
    for each, said in zip(WORDS, step.column(bench.columns).rows(), strict=True):
        for i, (token, symbol) in enumerate(zip(each, said, strict=True)):
            known = {"tokens": token, "indices": i}
            assert truth.setdefault(symbol, fn(*(known[s.name] for s in made.of))) == fn(
                *(known[s.name] for s in made.of)
            )
    assert bench.lost(SITE, bench.held[SITE]) == 0.0
    assert (bench.roots == {"v1": "v1"}) == (kind is Lookup)


def test_what_nothing_reads_is_not_told_apart():
    """Beside what is read, of two values, the MLP writes something else of each token."""
    idle = elementwise(lambda token: token.upper(), tokens, name="idle")
    bench = read(elementwise(lambda token: token in "ac", tokens), beside=[idle])
    (step,) = bench.steps
    assert len({step.function(each) for each in LETTERS}) == 2
    assert step.function("a") == step.function("c") != step.function("b") == step.function("d")


def test_one_that_says_what_is_known_adds_nothing():
    assert read(elementwise(lambda token: token.upper(), tokens)).said == {"L0.mlp": NOTHING_NEW}


def test_one_that_nothing_reads_does_not_matter():
    program = aggregate(select(indices, indices, lambda key, query: key == query), tokens)
    idle = elementwise(lambda token: token == "a", tokens, name="idle")
    bench = read(program, beside=[idle])
    assert bench.said == {"L0.mlp": MATTERS_NOT} and bench.steps == []


def test_a_long_table_is_left_alone():
    letters = tuple("abcdefghij")
    random = np.random.default_rng(1)
    words = [*dict.fromkeys(tuple(random.choice(letters, size=10).tolist()) for _ in range(600))]
    noise = elementwise(lambda token, i: crc32(f"{token} {i}".encode()) % 7, tokens, indices)
    bench = read(noise, letters=letters, longest=10, words=words)
    assert bench.said == {"L0.mlp": NOTHING_NEW} and bench.steps == [] and bench.held == {}
    assert Sum((1, 1)).length == 2
