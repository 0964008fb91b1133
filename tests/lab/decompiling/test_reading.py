"""Programs that nobody showed are read from compiled models, hidden or not; from one that knows nothing none is."""

import re
from functools import cache
from pathlib import Path

import pytest
import torch

from physalis.errors import BadInput
from physalis.lab.decompiling import brackets, read_program, reading
from physalis.lab.decompiling.programs import Attend, prelude
from physalis.lab.rasp import TASKS as ALL
from physalis.lab.rasp import dyck1, hidden, histogram, induction, plant_facts, reverse, sort, two_hop
from physalis.metrics import share_estimate
from physalis.models.shuffling import shuffled

TASKS = {
    each.name: each
    for each in (
        reverse(n_letters=4, longest=6), sort(n_letters=4, longest=5), histogram(n_letters=4, longest=6),
        dyck1(longest=9), induction(n_letters=4, longest=7), two_hop(longest=5),
    )
}  # fmt: skip
LINES = {
    "reverse": "mirrored_token = aggregate(select(position, from_end, lambda key, query: key == query), token)",
    "sort": "rank = selector_width(select(token_and_position, token_and_position, lambda key, query: key < query))",
    "histogram": "count = selector_width(select(token, token, lambda key, query: key == query))",
    "dyck1": "fell_below_zero = exists(select_past(side_of_zero, token, lambda key, query: key == 0))",
    "induction": "aggregate(latest(select_past(previous_token, token, lambda key, query: key == query)), token)",
    "two_hop": "v2 = aggregate(select_past(position, position, lambda key, query: key == query - 1), v1)",
}
"""One that says how it is done."""


def encoded(compiled, task, n=400):
    """Of strings of brackets more: many are alike."""
    return [compiled.encode([each])[0].tolist() for each in task.inputs(n * (1 + (task.name == "dyck1")))]


@cache
def read(name, turned=False):
    task = TASKS[name]
    compiled = hidden(task.compiled(), seed=3) if turned else task.compiled()
    return read_program(compiled.model, encoded(compiled, task), name=name)


@pytest.fixture(scope="module", params=TASKS)
def task(request):
    return TASKS[request.param]


@pytest.fixture(scope="module")
def found(task):
    return read(task.name)


def test_the_program_agrees_on_inputs_that_it_was_not_read_from(task, found):
    assert found.is_read and found.kind == "steps" and found.why == ""
    assert found.share["value"] == 1.0 and found.share == share_estimate(found.agreement)
    assert found.baseline["value"] < 0.5
    assert found.program.length < found.table_length / 20


def test_it_says_how_it_is_done(task, found):
    assert LINES[task.name] in str(found)
    assert f"def {task.name}(token):" in str(found)


def test_it_is_the_task_on_inputs_drawn_anew(task, found):
    inputs = task.inputs(300, seed=9)
    assert found.program.run(inputs) == [tuple(map(str, task.answer(each))) for each in inputs]


def test_what_is_printed_is_what_runs(task, found):
    names = {name: getattr(prelude, name) for name in prelude.__all__}
    exec(str(found.program), names)  # the program is text of our own, and to be run is what it is for
    inputs = task.inputs(60, seed=4)
    assert [tuple(names[task.name](list(each))) for each in inputs] == found.program.run(inputs)


@pytest.mark.parametrize("name", ["reverse", "histogram", "dyck1", "two_hop"])
def test_coordinates_do_not_matter(name):
    assert str(read(name, turned=True)) == str(read(name))


def test_it_says_what_every_part_comes_to(task, found):
    compiled = task.compiled()
    inside = {each for each in compiled.components if each.startswith("L") and each != "logits"}
    assert {*found.said} - {"logits"} == inside
    written = {step.component for step in found.program.steps}
    assert {part for part, what in found.said.items() if what in {s.name for s in found.program.steps}} == written
    # what the true circuit goes through is what was kept: heads, for an MLP may only recode what a head wrote
    heads = {step.component for step in found.program.steps if isinstance(step, Attend)}
    assert heads == {each for each in compiled.circuit.components if ".H" in each}


def test_two_hop_is_two_tables_of_the_facts_that_were_planted():
    facts = plant_facts()
    columns = read("two_hop").program.columns([[person] for person in facts.city_of])
    assert [row[0] for row in columns["v1"].rows()] == [*facts.city_of.values()]


def test_a_model_that_knows_nothing_has_no_program():
    toy = brackets(length=8, steps=0)
    found = read_program(toy.model, toy.inputs(400), asked=toy.asked)
    assert not found.is_read and found.program is None and found.share is None and found.kind is None
    assert str(found) == f"No program was found. {found.why}"
    assert found.why.startswith("Where L0.H0 looks is said by no relation of token, position that was tried. ")
    assert 0 <= found.baseline["value"] < 0.5 and found.said == {}


def test_shuffled_weights_that_look_nowhere_are_read_as_what_they_are():
    """The matrices of a compiled model are mostly zeros: in another order they leave a table of token and position."""
    task = TASKS["sort"]
    compiled = task.compiled()
    found = read_program(shuffled(compiled.model), encoded(compiled, task))
    assert found.program.steps == () and {*found.program.of} <= {"token", "position"}
    assert found.is_read == (found.share["value"] >= 0.99)


def test_a_program_that_disagrees_or_is_as_long_as_a_list_is_doubted():
    program = read("histogram").program
    assert "98.0% of inputs as the model does, not 99%" in reading._doubt(program, 0.98, 1000)
    assert "no more than a list: it has 8 symbols" in reading._doubt(program, 1.0, 8)
    assert reading._doubt(program, 0.995, 9) == ""


def test_inputs_are_judged_that_were_not_read():
    """Once each, however often they were given."""
    task = TASKS["histogram"]
    compiled = task.compiled()
    ids = encoded(compiled, task, 300)
    n = len({tuple(each) for each in ids})
    found = read_program(compiled.model, [*ids, *ids], held_out=0.25)
    assert len(found.agreement.num) == round(0.25 * n) and found.n_learned == n - round(0.25 * n)
    assert torch.equal(found.agreement.den, torch.ones(round(0.25 * n), dtype=torch.float64))


def test_the_programs_in_the_docs_do_what_they_are_called():
    page = Path(__file__).parents[3] / "docs" / "decompiling.md"
    printed = re.findall(r"```text\n(def .*?)```", page.read_text(), re.DOTALL)
    names = {name: getattr(prelude, name) for name in prelude.__all__}
    for each in printed:
        exec(each, names)  # text of our own
    for task in (make() for make in ALL):
        for words in task.inputs(40):
            assert names[task.name]([*words]) == [*map(str, task.answer(words))]
    assert names["addition"](["20", "15", "="]) == ["4"]
    assert names["sorting"]([*"facdeb>abcde"]) == [*"abcdef"]
    for words in dyck1().inputs(40):
        assert names["brackets"]([*words]) == [*dyck1().answer(words)]


def test_some_inputs_of_each_length_are_learned_from():
    lengths = [1, 2, 2, 3, 3, 3, 3]
    assert reading._learns(lengths).tolist() == [True, True, True, True, True, False, True]
    assert reading._learns([1, 2, 3, 4, 5, 6]).tolist() == [True] * 4 + [False] * 2


def test_bad_input_is_told():
    task = TASKS["histogram"]
    compiled = task.compiled()
    ids = encoded(compiled, task, 80)
    with pytest.raises(BadInput, match="30 different inputs or more; received 1"):
        read_program(compiled.model, ids[:1] * 50)
    with pytest.raises(BadInput, match="received a share of 1"):
        read_program(compiled.model, ids, held_out=1.0)
    with pytest.raises(BadInput, match="'my program' is no name"):
        read_program(compiled.model, ids, name="my program")
    with pytest.raises(BadInput, match="nothing is asked"):
        read_program(compiled.model, ids, asked=slice(5, None))
    with pytest.raises(BadInput, match="reads at most 7"):
        read_program(compiled.model, [*ids, [0] * 20])
