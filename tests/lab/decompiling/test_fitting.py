"""Of several functions that say the same the shortest is taken, and no shorter one that does not."""

from fractions import Fraction
from itertools import product

from physalis.lab.decompiling.fitting import fit_answers, fit_symbols
from physalis.lab.decompiling.programs.functions import Constant, Cuts, Lookup, Spelled, Sum, Switch, Together


def symbols(function, *domains):
    """What a function makes of all combinations, under numbers that mean nothing."""
    made = {values: function(*values) for values in product(*domains)}
    names = {value: (7 * i + 3) % 101 for i, value in enumerate(dict.fromkeys(made.values()))}
    return {values: names[value] for values, value in made.items()}


def test_a_difference_is_found_and_begins_at_0():
    found = fit_symbols(symbols(lambda n, i: n - i, range(4, 8), range(4)))
    assert found == Sum((1, -1), -1) and found(4, 3) == 0


def test_side_by_side_and_tables():
    assert fit_symbols(symbols(lambda a, b: (a, b), "ab", range(3))) == Together(2)
    odd = symbols(lambda a: a in "ac", "abcd")
    found = fit_symbols(odd)
    assert isinstance(found, Lookup) and len({found(each) for each in "ac"}) == 1 != found("b")
    assert found("a") != found("b") == found("d")


def test_numbers_are_cut_where_it_is_simple_to_say():
    numbers = [Fraction(n, d) for n, d in product(range(-3, 4), range(1, 5))]
    found = fit_symbols(symbols(lambda x: (x > 0) - (x < 0), numbers))
    assert isinstance(found, Cuts) and found.text(["x"]) == "(x >= 0) + (x > 0)"


def test_answers_are_spelled_looked_up_or_cut():
    count = {(n,): str(n) for n in range(9)}
    assert fit_answers(count, [False]).function == Spelled()
    level = fit_answers({(Fraction(n, 3),): "high" if n > 1 else "low" for n in range(9)}, [False]).function
    assert level.text(["x"]) == "('low', 'high')[(x > 1/3)]"
    assert fit_answers({("a",): "x", ("b",): "x"}, [False]).function == Constant("x")


def test_values_without_names_take_those_of_the_answers():
    found = fit_answers({(0,): "blue", (1,): "red"}, [True])
    assert found.function == Spelled() and found.labels == {0: {0: "blue", 1: "red"}}
    assert isinstance(fit_answers({(0,): "blue", (1,): "red"}, [False]).function, Lookup)
    both = fit_answers({(0,): "blue", (1,): "blue", (2,): "red"}, [True])
    assert both.labels == {}  # one name is no name of two


def test_one_variable_chooses_among_others():
    cities, countries = ("X", "Y", "Z"), {0: "P", 1: "P", 2: "Q"}
    observed = {}
    for city, ask in product(range(3), ("city?", "country?", "none")):
        said = {"city?": cities[city], "country?": countries[city], "none": "-"}[ask]
        observed[city, {"P": 5, "Q": 6}[countries[city]], ask] = said
    found = fit_answers(observed, [True, True, False])
    assert isinstance(found.function, Switch) and found.labels == {0: dict(enumerate(cities)), 1: {5: "P", 6: "Q"}}
    named = {(cities[a], countries[a], ask): said for (a, _, ask), said in observed.items()}
    assert all(found.function(*values) == said for values, said in named.items())
