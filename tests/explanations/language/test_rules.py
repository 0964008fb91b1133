"""Rules: written, read back, and true of what they say."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from physalis.errors import BadInput
from physalis.explanations import Clause, Leaf, Rule, Surroundings
from physalis.explanations.language.leaves import FARTHEST, PLACE_KINDS, TOKEN_KINDS

PIECES = [" the", " map", " maps", "Map", "(", ")", ' "', '"', "\n", "def", " moving", "7", b"\xe2\x80", "    ", ","]
NUMBER = {piece: number for number, piece in enumerate(PIECES)}


def text(*pieces) -> Surroundings:
    return Surroundings(np.array([[NUMBER[piece] for piece in pieces]]), PIECES)


def where(line: str, *pieces) -> list[int]:
    return np.flatnonzero(Rule.parse(f"{line} = 1").predict(text(*pieces))).tolist()


values = st.text(st.characters(codec="utf-8", exclude_categories=("Cs",)), min_size=1, max_size=6)
leaves = st.one_of(
    st.tuples(st.sampled_from(TOKEN_KINDS), values, st.integers(0, FARTHEST), st.booleans()),
    st.tuples(st.sampled_from(PLACE_KINDS), values, st.just(0), st.booleans()),
)
clauses = st.tuples(st.lists(leaves, min_size=1, max_size=4), st.floats(0, 1e6).map(lambda x: float(f"{x:.3g}")))


@given(st.lists(clauses, max_size=5))
def test_what_is_written_is_read_back(said):
    rule = Rule(tuple(Clause(tuple(Leaf(*leaf) for leaf in some), level) for some, level in said))
    line = str(rule)
    assert "\n" not in line and Rule.parse(line) == rule and str(Rule.parse(line)) == line
    assert rule.size == sum(len(clause.leaves) for clause in rule.clauses)
    assert rule.in_words()


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ('" map"', [1]),
        ('lexeme "map"', [1, 2, 4]),
        ('lexeme "map" and not " map"', [2, 4]),
        ('"(" before', [4]),
        ('"(" 2 before', [5]),
        ('ending "ing"', [6]),
        ('beginning "mov"', [6]),
        ('kind "digits"', [7]),
        ('kind "Capitalised letters" and "(" before', [4]),
        ('inside "("', [3, 4]),
        ('place "3-4"', [2, 3]),
        ('previous word "the"', [1]),
        ('word "moving"', [6]),
        ('line starts "the"', [0, 1, 2, 3, 4, 5, 6, 7]),
    ],
)  # fmt: skip
def test_leaves_are_true_where_they_say(line, found):
    assert where(line, " the", " map", " maps", "(", "Map", ")", " moving", "7") == found


def test_words_go_over_tokens():
    assert where('word "defmap"', "def", "Map", " the") == [1]
    assert where('line starts "def"', " the", "\n", "def", "(", "\n", "7") == [2, 3]
    assert where('inside "\\""', ' "', " the", '"', " map") == [0, 1]


def test_the_first_clause_that_holds_counts():
    rule = Rule.parse('" map" = 3 or kind "lower case word" = 2 or "(" = 0 or "(" = 5')
    assert rule.predict(text(" the", " map", "(", "7")).tolist() == [2, 3, 0, 0]
    assert Rule.parse("never").predict(text(" map")).tolist() == [0]


def test_contexts_do_not_see_each_other():
    both = Surroundings(np.array([[NUMBER["("], NUMBER[" map"]], [NUMBER[" map"], NUMBER["("]]]), PIECES)
    assert np.flatnonzero(Rule.parse('"(" before = 1').predict(both)).tolist() == [1]
    assert np.flatnonzero(Rule.parse('inside "(" = 1').predict(both)).tolist() == [0, 1, 3]


def test_bytes_that_are_no_text_have_names():
    assert where('"\\\\xe2\\\\x80"', " the", b"\xe2\x80") == [1]
    assert where('kind "part of a character"', " the", b"\xe2\x80") == [1]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("", "from character 1 on"),
        ("map = 1", "expected a leaf such as"),
        ('"map"', "` = ` with a code"),
        ('"map" = 1 or', "` or ` with another clause"),
        ('"map" = 1 or x', "expected a leaf"),
        ('word "map" before = 1', "is said of the token itself"),
        ('"map" = -1', "` = ` with a code"),
        ('"map" 9 before = 1', "` and ` with another leaf"),
        ('"map" = 1 and "x" = 2', "` or ` with another clause"),
    ],
)  # fmt: skip
def test_what_is_no_rule_is_told_where(line, said):
    with pytest.raises(BadInput, match="This is no rule") as error:
        Rule.parse(line)
    assert said in str(error.value)


def test_words_for_people():
    assert Rule.parse('lexeme "map" and not "(" before = 2 or "7" = 1').in_words() == (
        'Fires on a form of "map", not the token "(" just before; or on the token "7".'
    )
