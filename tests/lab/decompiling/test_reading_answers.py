"""The answer is the function of variables with which the whole program is shortest, and it gives names to values."""

import numpy as np

from physalis.lab.decompiling.passes import Passes
from physalis.lab.decompiling.programs import Apply, Attend, Selection
from physalis.lab.decompiling.programs.columns import column_of
from physalis.lab.decompiling.programs.functions import Lookup, Spelled
from physalis.lab.decompiling.programs.relations import ALL, Relation
from physalis.lab.decompiling.reading_answers import read_answer
from physalis.lab.decompiling.workbench import Workbench
from physalis.lab.rasp import compile_program, elementwise, tokens

LETTERS = ("a", "b", "c", "d")
COLOURS = {"a": "red", "b": "blue", "c": "red", "d": "green"}
RANDOM = np.random.default_rng(0)
WORDS = [*dict.fromkeys(tuple(RANDOM.choice(LETTERS, size=4).tolist()) for _ in range(200))]
COMPILED = compile_program(elementwise(COLOURS.get, tokens), vocabulary=LETTERS, context=4)
SPELLED = [*COMPILED.model.tokenizer.words]


def bench() -> Workbench:
    passes = Passes(COMPILED.model, [COMPILED.encode([each])[0].tolist() for each in WORDS], slice(1, None))
    learns = np.arange(len(WORDS)) % 3 < 2
    return Workbench(passes, WORDS, learns, causal=True, tolerance=0.01, parts=2)


def nameless() -> Apply:
    table = {("a",): 0, ("c",): 0, ("b",): 1}
    return Apply("v1", "L0.mlp", Lookup(table, 2), ("token",))


def test_it_is_a_table_where_nothing_else_is_known():
    function, of = read_answer(bench(), SPELLED)
    assert of == ("token",) and [function(each) for each in LETTERS] == [COLOURS[each] for each in LETTERS]


def test_values_get_their_names_from_the_answers():
    made, step = bench(), nameless()
    made.add(step, step.column(made.columns), root="v1")
    function, of = read_answer(made, SPELLED)
    assert function == Spelled() or of == ("token",)  # as long: the table at the step, or at the end
    if of == ("v1",):
        assert [made.steps[0].function(each) for each in LETTERS] == [COLOURS[each] for each in LETTERS]


def test_names_are_given_to_copies_and_to_the_tables_that_read_them():
    made, step = bench(), nameless()
    made.add(step, step.column(made.columns), root="v1")
    here = Relation("key == query", 3, lambda key, query: key == query)
    copy = Attend("v2", "L1.H0", Selection("position", "position", here, "all", False), "value", "v1")
    made.columns["v2"], made.roots["v2"] = copy.column(made.columns, made.visible), "v1"
    made.steps.append(copy)
    after = Apply("v3", "L1.mlp", Lookup({(0,): 5}, 6), ("v2",))
    made.add(after, after.column(made.columns))
    del made.columns["token"]  # what is left says the answer, and v2 is asked for its names
    function, of = read_answer(made, SPELLED)
    assert function == Spelled() and of in (("v1",), ("v2",))
    assert [made.steps[0].function(each) for each in LETTERS] == [COLOURS[each] for each in LETTERS]
    assert made.steps[2].function("red") == 5 and made.steps[2].function("blue") == 6


def test_values_that_are_compared_keep_what_they_are():
    made, step = bench(), nameless()
    made.add(step, step.column(made.columns), root="v1")
    least = Attend("v2", "L1.H0", Selection("v1", "v1", ALL, "least", False), "value", "token")
    made.add(least, least.column(made.columns, made.visible))
    del made.columns["token"]
    function, of = read_answer(made, SPELLED)
    assert isinstance(function, Lookup) and of == ("v1",)
    assert made.steps[0].function("a") == 0 and function(0) == "red"


def test_none_is_found_where_variables_do_not_say_it():
    made = bench()
    made.columns = {"position": made.columns["position"], "length": column_of([[4] * 4 for _ in WORDS])}
    assert read_answer(made, SPELLED) is None
