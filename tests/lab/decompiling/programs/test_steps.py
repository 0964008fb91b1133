"""Steps compute over many inputs at once what the prelude says of each alone."""

from fractions import Fraction

import numpy as np
import pytest

from physalis.lab.decompiling.programs import Apply, Attend, Selection, prelude
from physalis.lab.decompiling.programs.functions import Sum
from physalis.lab.decompiling.programs.program import given, visible
from physalis.lab.decompiling.programs.relations import ALL, Relation

RANDOM = np.random.default_rng(0)
INPUTS = [tuple(RANDOM.choice(["a", "b", "c"], size=n).tolist()) for n in (1, 2, 5, 7, 7)]
LESS = Relation("key < query", 3, lambda key, query: key < query)
SAME = Relation("key == query", 3, lambda key, query: key == query)
NUMBERS = {"a": Fraction(1), "b": Fraction(-1, 2)}
SELECTIONS = [
    Selection("token", "token", ALL, "all", False), Selection("token", "token", LESS, "all", True),
    *(Selection("token", "token", LESS, choice, False) for choice in ("latest", "earliest", "least", "greatest")),
    Selection("position", "position", SAME, "all", False),
]  # fmt: skip


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("carries", ["value", "width", "exists", "mean", "counts"])
@pytest.mark.parametrize("selection", SELECTIONS, ids=lambda each: f"{each.choice} {each.relation.text}")
def test_a_head_is_its_text(selection, carries, causal):
    if carries == "value" and selection.choice == "all" and selection.relation is not SAME:
        carries = "counts"  # of several categories no one is carried
    of = None if carries in ("width", "exists") else "token"
    step = Attend("v", "L0.H0", selection, carries, of, NUMBERS if carries in ("mean", "counts") else {})
    columns = given(INPUTS)
    found = step.column(columns, visible(columns["token"].exists, causal)).rows()
    names = {name: getattr(prelude, name) for name in prelude.__all__}
    for each, said in zip(INPUTS, found, strict=True):
        known = {**names, "token": list(each), "position": prelude.positions(each)}
        assert [*said] == eval(step.text(causal), known)  # text of our own


def test_patterns_are_even_over_what_is_chosen():
    selection = Selection("token", "token", LESS, "all", False)
    columns = given([("b", "a", "c")])
    seen = visible(columns["token"].exists, causal=False)
    chosen = selection.chosen(columns, seen)
    assert selection.pattern(chosen)[0].tolist() == [[0, 0, 1, 0], [1, 0, 0, 0], [0, 0.5, 0.5, 0]]
    with_start = Selection("token", "token", LESS, "all", True).pattern(chosen)[0]
    assert np.allclose(with_start[2], [1 / 3, 1 / 3, 1 / 3, 0])


def test_a_mean_counts_values_that_were_never_seen_as_nothing():
    step = Attend("v", "L0.H0", SELECTIONS[0], "mean", "token", NUMBERS)
    columns = given([("a", "zebra")])
    assert step.column(columns, visible(columns["token"].exists, False)).rows() == [(Fraction(1, 2), Fraction(1, 2))]


def test_an_mlp_is_its_text():
    step = Apply("v", "L0.mlp", Sum((1, -1), 1), ("position", "position"))
    assert step.column(given(INPUTS)).rows() == [(1,) * len(each) for each in INPUTS]
    assert step.length == 1 + 2 + 3 and step.reads == ("position", "position")


def test_names_change_everywhere():
    step = Attend("v", "L0.H0", Selection("w", "token", SAME, "all", False), "value", "w")
    names = {"v": "new", "w": "old", "token": "token"}
    assert step.renamed(names).text(False) == "aggregate(select(old, token, lambda key, query: key == query), old)"
    assert step.renamed(names).name == "new" and step.reads == ("w", "token", "w")
