"""Functions give what their text gives."""

from fractions import Fraction

import pytest

from physalis.lab.decompiling.programs.functions import (
    Constant,
    Cut,
    Cuts,
    Lookup,
    Spelled,
    Sum,
    Switch,
    Together,
)

ABOVE, FROM = Cut(Fraction(0), False), Cut(Fraction(0), True)
CASES = [
    (Constant("x"), [(1,)], 1),
    (Spelled(), [(3,), (None,)], 0),
    (Sum((1, -1), -1), [(5, 2), (0, 0)], 3),
    (Sum((-1, 1)), [(5, 2)], 2),
    (Sum((1,), 2), [(4,)], 2),
    (Together(2), [(1, "a")], 2),
    (Cuts((FROM, ABOVE)), [(-1,), (0,), (Fraction(1, 3),)], 4),
    (Cuts((ABOVE,), ("low", "high")), [(0,), (1,)], 4),
    (Lookup({("a",): 1, ("b",): 2}, 0), [("a",), ("b",), ("c",)], 5),
    (Lookup({("a", 1): "x"}, None), [("a", 1), ("a", 2)], 4),
    (Switch({"p": 0, "q": Constant("no")}, 1), [(1, 2, "p"), (1, 2, "q"), (1, 2, "r")], 5),
]


@pytest.mark.parametrize(("function", "inputs", "length"), CASES, ids=lambda x: type(x).__name__)
def test_the_text_is_the_function(function, inputs, length):
    names = ["x", "y", "z"][: len(inputs[0])]
    says = eval(f"lambda {', '.join(names)}: {function.text(names)}")  # text of our own
    assert [says(*each) for each in inputs] == [function(*each) for each in inputs]
    assert function.length == length


def test_none_has_no_sum_and_no_side():
    assert Sum((1, 1))(None, 1) is None and Cuts((ABOVE,))(None) is None


def test_a_table_under_other_names():
    table = Lookup({("a", 0): 1, ("b", 0): 2}, 0)
    new = table.relabelled([{"a": "A"}, {}], {1: "one", 0: "none"})
    assert new("A", 0) == "one" and new("b", 0) == 2 and new("c", 0) == "none" == new("a", 0)
