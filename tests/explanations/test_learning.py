"""Learning finds the rule that was planted, and says no more than it knows."""

import numpy as np
import pytest

from physalis.errors import BadInput
from physalis.explanations import Economy, Rule, Surroundings
from physalis.explanations.language.leaves import Leaf
from physalis.explanations.learning import Corpus, Learner, Literal
from physalis.explanations.similarity.grouping import group

WORDS = ["map", "list", "tree", "red", "blue", "green", "run", "walk", "the", "a"]
PIECES = [*(f" {word}" for word in WORDS), "(", ")", "\n", " Map", " maps", "7", "42"]
CONTEXTS, LENGTH = 300, 32

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def text():
    tokens = np.random.default_rng(0).integers(0, len(PIECES), (CONTEXTS, LENGTH))
    return Surroundings(tokens, PIECES, group(tokens, PIECES))


@pytest.fixture(scope="module")
def corpus(text):
    learned = np.arange(int(text.n * 0.8))
    return Corpus.of(text, learned, learned)


def f1(predicted, true) -> float:
    return 2 * float((predicted & true).sum()) / float(predicted.sum() + true.sum())


PLANTED = [
    '" map" = 3',
    'lexeme "map" = 2',
    '" map" and "(" before = 4',
    '" map" and not "(" before = 4',
    'kind "digits" = 1 or " tree" and " the" 2 before = 9',
    'inside "(" and " run" = 2',
    'previous word "red" and "(" = 2',
    'place "5-8" = 3',
    '" map" = 8 or " list" = 4 or " tree" = 2',
]


@pytest.mark.parametrize("planted", PLANTED)
def test_a_planted_rule_is_found(text, corpus, planted):
    codes = Rule.parse(planted).predict(text)
    at = np.flatnonzero(codes)
    learned = at[at < text.n * 0.8]
    found = Learner(corpus).learn(learned, codes[learned])
    held = np.arange(text.n) >= text.n * 0.8
    predicted = found.predict(text)
    assert f1(predicted[held] > 0, codes[held] > 0) >= 0.95, str(found)
    assert found.size <= Rule.parse(planted).size + 1, str(found)
    assert np.corrcoef(predicted[held], codes[held])[0, 1] > 0.95, str(found)


@pytest.mark.parametrize("share", [0.01, 0.05, 0.3, 0.7])
def test_what_is_random_has_no_rule(text, corpus, share):
    """To say of all tokens that they fire would have an F1 of .46 where 30 % do."""
    for seed in range(5):
        at = np.flatnonzero(np.random.default_rng(seed).random(text.n) < share)
        learned = at[at < text.n * 0.8]
        assert Learner(corpus).learn(learned, np.ones(len(learned), np.float32)) == Rule()


def test_what_always_fires_has_a_rule_or_none(text, corpus):
    """There is nothing to be told apart."""
    every = np.arange(text.n)
    assert Learner(corpus).learn(every, np.ones(text.n, np.float32)) == Rule()
    most = every[text.tokens.ravel() != 3]  # all but one word
    found = Learner(corpus).learn(most, np.ones(len(most), np.float32))
    assert f1(found.predict(text) > 0, np.isin(every, most)) > 0.9, str(found)


def test_a_clause_that_others_make_needless_is_taken_back(text, corpus):
    """A group of words is worth most at first, until its words have clauses of their own."""
    learner = Learner(corpus)
    y = np.isin(text.tokens.ravel(), [0, 1, 2])
    numbers = {corpus.leaf(number, False): number for number in range(len(corpus.counts))}
    words = [(Literal(numbers[Leaf("symbol", f" {word}")], False),) for word in ("map", "list", "tree")]
    wide = next(
        (Literal(number, False),)
        for leaf, number in numbers.items()
        if leaf.kind == "loosely like" and leaf.back == 0 and y[corpus.having(number)].any()
    )
    assert learner._needed([wide, *words], y) == words and learner._needed(words, y) == words


def test_a_rule_costs_what_it_may(text, corpus):
    codes = Rule.parse('" map" = 1 or " list" = 1 or " tree" = 1 or " red" = 1').predict(text)
    at = np.flatnonzero(codes)
    sizes = [Learner(corpus, Economy(leaves=n)).learn(at, codes[at]).size for n in (1, 2, 4)]
    assert sizes[0] == 1 and sizes[1] <= 2 and sizes[2] <= 4
    assert Learner(corpus, Economy(price=0.5)).learn(at, codes[at]).size < 4
    assert Learner(corpus).learn(at[:0], codes[:0]) == Rule()
    for wrong in ({"price": 0.0}, {"price": float("nan")}, {"leaves": 0}):
        with pytest.raises(BadInput, match="A leaf costs more than 0"):
            Economy(**wrong)


def test_learning_again_gives_the_same(text, corpus):
    codes = Rule.parse(PLANTED[4]).predict(text)
    at = np.flatnonzero(codes)
    learner = Learner(corpus)
    assert learner.learn(at, codes[at]) == learner.learn(at, codes[at]) == Learner(corpus).learn(at, codes[at])
