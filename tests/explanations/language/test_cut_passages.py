"""Passages: what surely holds in a piece of text holds in the whole of it, and what holds there may in the piece."""

import numpy as np
import pytest

from physalis.explanations import Clause, Fields, Leaf, Rule, Surroundings
from physalis.explanations.language.leaves import PLACE_KINDS, TOKEN_KINDS
from physalis.explanations.language.passages import Passages

PIECES = [
    "def", " walk", "(", ")", " self", ",", '"', "'", "\n", "    ", " maps", "ping", ".", "[", "]", " Map", "1",
    "))", b"\xe2",
]  # fmt: skip
LENGTH = 40


@pytest.fixture(scope="module")
def text():
    rng = np.random.default_rng(0)
    groups = np.tile(np.arange(len(PIECES)) // 4, (3, 1)).astype(np.int32)
    heads = [np.array([4 * g for g in range(groups.max() + 1)])] * 3
    return Surroundings(rng.integers(0, len(PIECES), (60, LENGTH)), PIECES, Fields(groups, heads))


@pytest.fixture(scope="module")
def cut(text):
    """Pieces of each context, from some place on, of different lengths: (tokens, starts, ends)."""
    rng = np.random.default_rng(1)
    starts = rng.integers(0, 20, len(text.tokens))
    ends = rng.integers(starts + 3, LENGTH)
    tokens = np.full((len(starts), LENGTH), -1)
    for row, (start, end) in enumerate(zip(starts, ends, strict=True)):
        tokens[row, : end - start] = text.tokens[row, start:end]
    return tokens, starts, ends


def of_whole(holds, text, cut):
    """What is true of the whole contexts, at the tokens of the pieces."""
    tokens, starts, ends = cut
    found = np.zeros(tokens.shape, bool)
    for row, (start, end) in enumerate(zip(starts, ends, strict=True)):
        found[row, : end - start] = holds.reshape(text.tokens.shape)[row, start:end]
    return found


def leaves(text):
    """Of every kind, and what is asked of tokens, as far back as may be."""
    for column in text.columns:
        for value in column.values:
            for negated in (False, True):
                yield Leaf(column.kind, value, column.back, negated)


def test_what_holds_in_a_piece_holds_in_the_whole(text, cut):
    passages, kinds, open_ = Passages(cut[0], text), set(), 0
    for leaf in leaves(text):
        truth, where = of_whole(text.holds(leaf), text, cut), passages.leaf(leaf)
        assert (where.surely <= truth).all() and (truth <= where.perhaps).all(), leaf
        assert (where.perhaps <= (cut[0] >= 0)).all()
        kinds |= {leaf.kind} if where.surely.any() else set()
        open_ += (where.perhaps & ~where.surely).sum()
    assert kinds == {*TOKEN_KINDS, *PLACE_KINDS} and open_  # a negated place surely holds far on


def test_what_is_asked_of_the_token_itself_is_always_known(text, cut):
    passages = Passages(cut[0], text)
    for leaf in leaves(text):
        if leaf.kind in TOKEN_KINDS:
            where = passages.leaf(leaf)
            assert (where.surely[:, leaf.back :] == where.perhaps[:, leaf.back :]).all()
            assert not where.surely[:, : leaf.back].any() and where.perhaps[cut[0] >= 0].any()


def test_the_clauses_of_a_rule_hold_in_turn(text, cut):
    some = [*leaves(text)]
    passages, rng = Passages(cut[0], text), np.random.default_rng(2)
    for _ in range(50):
        pairs = [tuple(some[i] for i in rng.choice(len(some), 2)) for _ in range(3)]
        rule = Rule(tuple(Clause(pair, 1.0 + n) for n, pair in enumerate(pairs)))
        levels = rule.predict(text)
        for clause, where in zip(rule.clauses, passages.decided(rule), strict=True):
            truth = of_whole(levels == clause.level, text, cut)
            assert (where.surely <= truth).all() and (truth <= where.perhaps).all(), str(rule)


def test_a_group_that_the_vocabulary_cannot_name_is_left_open(text, cut):
    leaf = Leaf("like", "no such head")
    assert not Passages(cut[0], text).leaf(leaf).surely.any()
    assert (Passages(cut[0], text).leaf(leaf).perhaps == (cut[0] >= 0)).all()
    assert not Passages(cut[0], text).leaf(Leaf("symbol", "no such token")).perhaps.any()
