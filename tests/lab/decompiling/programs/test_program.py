"""A program runs without a model, prints what it runs, and leaves out what it does not need."""

from physalis.lab.decompiling.programs import Apply, Attend, Program, Selection, prelude
from physalis.lab.decompiling.programs.functions import Cut, Cuts, Lookup, Spelled
from physalis.lab.decompiling.programs.relations import Relation

SAME = Relation("key == query", 3, lambda key, query: key == query)
COUNT = Attend("v1", "L0.H0", Selection("token", "token", SAME, "all", True), "width", None)
WASTE = Apply("v2", "L0.mlp", Cuts((Cut(2, True),)), ("v1",))
SPELLED = Spelled()
NOTES = {"v1": "90% of its attention"}


def program(steps=(COUNT, WASTE), answer=SPELLED, of=("v1",), asked=slice(None)) -> Program:
    return Program(name="counting", steps=steps, answer=answer, of=of, asked=asked, causal=False, notes=NOTES)


def test_it_counts():
    assert program().run([("a", "b", "a"), ("b",)]) == [("2", "1", "2"), ("1",)]
    assert program(asked=slice(1, None)).run([("a", "b", "a"), ("b",)]) == [("1", "2"), ()]
    assert program(asked=slice(-1, None)).run([("a", "b", "a")]) == [("2",)]
    assert program().run([]) == []


def test_it_prints_what_it_runs():
    made = program(answer=Lookup({(1, "a"): "one a"}, "-"), of=("v1", "token"), asked=slice(1, 3)).pruned()
    assert str(made).splitlines() == [
        "def counting(token):",
        "    v1 = selector_width(select(token, token, lambda key, query: key == query))  # L0.H0, 90% of its attention",
        "    return elementwise(lambda v1, token: {(1, 'a'): 'one a'}.get((v1, token), '-'), v1, token)[1:3]",
    ]
    names = {name: getattr(prelude, name) for name in prelude.__all__}
    exec(str(made), names)  # text of our own
    for each in (("b", "a", "b"), ("a", "a")):
        assert [tuple(names["counting"](each))] == made.run([each])


def test_what_is_not_needed_is_left_out():
    whole = program()
    assert whole.pruned().steps == (COUNT,) and whole.components == ("L0.H0", "L0.mlp")
    assert whole.length == whole.pruned().length + WASTE.length == COUNT.length + WASTE.length + 1
    assert program(of=("v2",)).pruned().steps == (COUNT, WASTE)


def test_names_change_everywhere():
    made = program(of=("v2",)).renamed({"v1": "count"})
    assert [step.name for step in made.steps] == ["count", "v2"] and made.steps[1].reads == ("count",)
    assert made.notes == {"count": "90% of its attention"} and made.run([("a", "a")]) == [("1", "1")]
