"""Relations hold of the pairs that their text says, and of none that cannot be compared."""

from fractions import Fraction

import numpy as np
import pytest

from physalis.lab.decompiling.programs.relations import (
    ALL,
    constant_relations,
    listed_relation,
    short_relations,
    written,
)

KEYS, QUERIES = (0, 1, 2, None), (1, 2)


@pytest.mark.parametrize(
    ("keys", "queries"), [(KEYS, QUERIES), (("a", "b"), ("b", "c")), ((("a", 1), ("b", 0)), (("a", 2),))]
)
def test_a_relation_holds_where_its_text_does(keys, queries):
    found = [*short_relations(keys, queries), *constant_relations(keys), ALL]
    assert len({each.text for each in found}) == len(found) > 6
    for each in found:
        predicate = eval(f"lambda key, query: {each.text}")  # text of our own
        for i, query in enumerate(queries):
            for j, key in enumerate(keys):
                try:
                    truth = bool(predicate(key, query))
                except TypeError:
                    truth = False
                assert each.table(keys, queries)[i, j] == truth, each.text


def test_what_cannot_be_compared_has_no_short_relation():
    assert [*short_relations((1, 2), ("a",))] == []
    assert not any("+" in each.text for each in short_relations(("a",), ("b",)))


def test_numbers_on_both_sides_of_0_can_be_told_apart_by_that():
    sides = {each.text for each in constant_relations((Fraction(-1, 2), Fraction(1, 3)))}
    assert {"key < 0", "key <= 0", "key > 0", "key >= 0"} <= sides
    assert "key < 0" not in {each.text for each in constant_relations((1, 2))}


def test_pairs_are_listed_that_are_seen_more_often_than_not():
    seen = np.array([[0.9, 0.4, 0.6], [0.0, 0.1, 0.2]])
    found = listed_relation(seen, ("a", "b", "c"), (1, 2))
    assert found.text == "key in {1: ('a', 'c')}.get(query, ())" and found.length == 6
    assert found.table(("a", "b", "c"), (1, 2)).tolist() == [[True, False, True], [False, False, False]]
    assert listed_relation(seen * 0.5, ("a", "b", "c"), (1, 2)) is None


def test_values_are_written_as_python():
    for value in (1, "it's", None, True, ("a", 1), ("a",)):
        assert eval(written(value)) == value
    assert written(Fraction(-1, 2)) == "-1/2"
