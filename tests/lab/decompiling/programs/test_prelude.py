"""The words that printed programs are made of mean what they mean in RASP."""

from fractions import Fraction

from physalis.lab.decompiling.programs import prelude as p
from physalis.lab.rasp import aggregate, evaluate, indices, latest, select, selector_width, tokens

WORDS = ["b", "a", "c", "a", "b"]


def less(key, query):
    return key < query


def test_they_are_rasps():
    for causal, choose in ((False, p.select), (True, p.select_past)):
        own = choose(WORDS, WORDS, less)
        width = selector_width(select(tokens, tokens, less))
        assert p.selector_width(own) == [*evaluate(width, WORDS, causal=causal)]
        last = aggregate(latest(select(tokens, tokens, less)), indices)
        assert p.aggregate(p.latest(own), p.positions(WORDS)) == [*evaluate(last, WORDS, causal=causal)]


def test_choices():
    own = p.select(WORDS, WORDS, lambda key, query: key != query)
    at = p.positions(WORDS)
    assert p.aggregate(p.earliest(own), at) == [1, 0, 0, 0, 1]
    assert p.aggregate(p.least(own), at) == [3, 4, 3, 4, 3]
    assert p.aggregate(p.greatest(own), at) == [2, 2, 4, 2, 2]
    none = p.select([None, 2], [0, 0], lambda key, query: True)
    assert p.least(none).chosen == [[1], [1]] and p.greatest(none).chosen == [[0], [0]]


def test_means_and_counts():
    own = p.select_past(WORDS, WORDS, lambda key, query: True)
    numbers = p.numeric({"a": 1, "b": -1}, WORDS)
    assert p.mean(own, numbers)[:2] == [-1, 0] and p.mean(own, numbers)[3] == Fraction(1, 4)
    assert p.mean_with_start(own, numbers)[0] == Fraction(-1, 2)
    assert p.counts(own, ("a", "b"), WORDS)[-1] == (2, 2)
    nothing = p.select(WORDS, WORDS, lambda key, query: key < 3)  # cannot be compared
    assert not any(p.exists(nothing)) and p.mean(nothing, numbers) == [0] * 5
    assert p.aggregate(nothing, WORDS) == [None] * 5 and p.elementwise(min, [1, 2], [2, 0]) == [1, 0]
