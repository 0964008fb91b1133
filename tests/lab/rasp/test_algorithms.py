"""Each program does what its name says, by another way to compute it; compiled, it says the same of every input."""

import pytest

from physalis.errors import BadInput
from physalis.lab.rasp import TASKS, Facts, dyck1, histogram, induction, plant_facts, reverse, sort, two_hop

N = 200


def label(brackets: tuple[str, ...]) -> str:
    """By taking out pairs that stand side by side."""
    text = "".join(brackets)
    while "()" in text:
        text = text.replace("()", "")
    return "broken" if ")" in text else "open" if text else "balanced"


def last_successor(seen: tuple[str, ...]) -> str | None:
    found = None
    for before, after in zip(seen, seen[1:], strict=False):
        if before == seen[-1]:
            found = after
    return found


def of_people(facts: Facts, seen: tuple[str, ...]) -> str | None:
    if not seen[-1].endswith("?"):
        return None
    city = facts.city_of[seen[-2]]
    return city if seen[-1] == "city?" else facts.country_of[city]


KNOWN = {
    "reverse": lambda x: x[::-1],
    "sort": lambda x: tuple(sorted(x)),
    "histogram": lambda x: tuple(map(x.count, x)),
    "dyck1": lambda x: tuple(label(x[: i + 1]) for i in range(len(x))),
    "induction": lambda x: tuple(last_successor(x[: i + 1]) for i in range(len(x))),
    "two_hop": lambda x: tuple(of_people(plant_facts(), x[: i + 1]) for i in range(len(x))),
}


@pytest.mark.parametrize("make", TASKS, ids=lambda make: make.__name__)
def test_a_compiled_program_says_what_it_is_to_say_of_every_input(make):
    task = make()
    assert task.name == make.__name__
    inputs = task.inputs(N)
    assert len(inputs[0]) == task.longest and {len(each) for each in inputs} == {*range(1, task.longest + 1)}
    truth = [task.answer(each) for each in inputs]
    assert truth == [KNOWN[task.name](each) for each in inputs]
    assert task.compiled().answers(inputs) == truth


def test_the_same_seed_draws_the_same_inputs():
    task = induction()
    assert task.inputs(20) == task.inputs(20) != task.inputs(20, seed=1)
    assert [len(task.inputs(n)) for n in (0, 1, 5)] == [0, 1, 5]


def test_strings_of_brackets_are_of_every_kind():
    task = dyck1()
    ends = [task.answer(each)[-1] for each in task.inputs(N)]
    assert all(ends.count(kind) > N / 20 for kind in ("balanced", "open", "broken"))


@pytest.mark.parametrize("task", [
    reverse(n_letters=2, longest=1), reverse(n_letters=3, longest=24), sort(n_letters=26, longest=3),
    histogram(n_letters=2, longest=40), dyck1(longest=30), induction(n_letters=1, longest=5),
    two_hop(plant_facts(people=20, cities=9, countries=9, seed=3), longest=4),
], ids=lambda task: f"{task.name} of {task.longest}")  # fmt: skip
def test_other_sizes_are_as_exact(task):
    inputs = task.inputs(60)
    assert task.compiled().answers(inputs) == [task.answer(each) for each in inputs]


def test_facts_are_planted():
    facts = plant_facts(people=30, cities=12, countries=4, seed=1)
    assert len(facts.city_of) == 30 and {*facts.city_of.values()} == {*facts.country_of}
    assert len({*facts.country_of.values()}) == 4
    assert facts == plant_facts(people=30, cities=12, countries=4, seed=1) != plant_facts(people=30, cities=12, seed=1)
    with pytest.raises(BadInput, match="received 3 people, 5 cities and 3 countries"):
        plant_facts(people=3)


def test_what_is_too_large_is_refused():
    with pytest.raises(BadInput, match="1 to 26 letters to take; received 27"):
        sort(n_letters=27)
    with pytest.raises(BadInput, match=r"'opposite' has 6,480 values or combinations.* at most 4,096. Take fewer"):
        reverse(longest=80).compiled()
    with pytest.raises(BadInput, match=r"'count' tells 1/\d+ from 1/\d+ among numbers from .*: too near each other"):
        histogram(longest=400).compiled()
