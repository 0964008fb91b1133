"""algorithms: programs of which everything is known: reverse, sort, histogram, Dyck-1, induction and two-hop facts.

Each function returns a ``Task``: a program, what it reads, and inputs to run it on.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from physalis.errors import BadInput
from physalis.lab.rasp.compiling import Compiled, compile_program
from physalis.lab.rasp.language import (
    SOp,
    Value,
    aggregate,
    elementwise,
    evaluate,
    indices,
    latest,
    numeric,
    select,
    selector_width,
    tokens,
)

Draw = Callable[[np.random.Generator, int], Sequence[str]]
"""A random input of a length."""


class Task(NamedTuple):
    """A program, and what it is a program of."""

    name: str
    program: SOp
    vocabulary: tuple[str, ...]
    longest: int
    """In tokens."""
    causal: bool
    """Whether no position sees a later one."""
    draw: Draw

    def compiled(self, *, beside: Sequence[SOp] = ()) -> Compiled:
        """As ``compile_program`` makes it. Raises BadInput likewise."""
        return compile_program(
            self.program, vocabulary=self.vocabulary, context=self.longest, causal=self.causal, beside=beside
        )

    def answer(self, tokens: Sequence[str]) -> tuple[Value, ...]:
        """The truth, at each token of an input."""
        return evaluate(self.program, tokens, causal=self.causal)

    def inputs(self, n: int, *, seed: int = 0) -> list[tuple[str, ...]]:
        """``n`` random inputs of all lengths; the first is as long as any. The same seed draws the same."""
        random = np.random.default_rng(seed)
        lengths = [self.longest, *random.integers(1, self.longest + 1, size=max(0, n - 1)).tolist()]
        return [tuple(map(str, self.draw(random, length))) for length in lengths[:n]]


def letters(n: int) -> tuple[str, ...]:
    """The first of the alphabet. Raises BadInput for more than it has."""
    if not 1 <= n <= 26:
        raise BadInput(f"There are 1 to 26 letters to take; received {n}.")
    return tuple("abcdefghijklmnopqrstuvwxyz"[:n])


def reverse(*, n_letters: int = 6, longest: int = 10) -> Task:
    """At each position the token that stands as far from the other end. A head counts the tokens, an MLP takes the
    index from that, a second head looks there. Raises BadInput for sizes that cannot be compiled, as do all."""
    length = selector_width(select(tokens, tokens, lambda key, query: True), name="length")
    opposite = elementwise(lambda n, i: n - 1 - i if i < n else None, length, indices, name="opposite")
    there = select(indices, opposite, lambda key, query: key == query)
    program = aggregate(there, tokens, name="reversed")
    alphabet = letters(n_letters)
    return Task("reverse", program, alphabet, longest, False, _any_of(alphabet))


def sort(*, n_letters: int = 6, longest: int = 8) -> Task:
    """The tokens in the order of the vocabulary, equal ones side by side. An MLP joins token and index to something
    that is unlike any other, a head counts those that come before it, and each position looks for the token of its
    rank."""
    alphabet = letters(n_letters)
    place = elementwise(lambda token, i: (token, i), tokens, indices, name="token and index")
    rank = selector_width(select(place, place, lambda key, query: key < query), name="rank")
    program = aggregate(select(rank, indices, lambda key, query: key == query), tokens, name="sorted")
    return Task("sort", program, alphabet, longest, False, _any_of(alphabet))


def histogram(*, n_letters: int = 6, longest: int = 12) -> Task:
    """How often the token at each position stands in the input: a head, and an MLP that reads the count off it."""
    alphabet = letters(n_letters)
    program = selector_width(select(tokens, tokens, lambda key, query: key == query), name="count")
    return Task("histogram", program, alphabet, longest, False, _any_of(alphabet))


def dyck1(*, longest: int = 12) -> Task:
    """Of each beginning of a string of brackets: "balanced"; "open", where brackets are left to close; or "broken",
    where one was closed that was not open. A head takes the mean of +1 and -1 so far, a second looks whether it was
    ever negative. Inputs are balanced, or begin as a balanced one does and go on at random, or are random."""
    sign = numeric(lambda token: 1 if token == "(" else -1, tokens, name="step")
    mean = aggregate(select(tokens, tokens, lambda key, query: True), sign, name="height")
    level = elementwise(lambda x: (x > 0) - (x < 0), mean, name="level")
    fell = aggregate(select(level, tokens, lambda key, query: key < 0), level, default=0, name="fell")

    def label(level: int, fell: int) -> str:
        return "broken" if fell < 0 else "open" if level > 0 else "balanced"

    program = elementwise(label, level, fell, name="label")
    return Task("dyck1", program, ("(", ")"), longest, True, _brackets)


def induction(*, n_letters: int = 6, longest: int = 16) -> Task:
    """What followed the token the last time that it stood there; None where it is new. A head of block 0 carries the
    token before, one of block 1 looks for where that is this token (Elhage et al. 2021, Olsson et al. 2022)."""
    alphabet = letters(n_letters)
    before = select(indices, indices, lambda key, query: key == query - 1)
    previous = aggregate(before, tokens, name="previous token")
    followed = latest(select(previous, tokens, lambda key, query: key == query))
    program = aggregate(followed, tokens, name="next token")
    return Task("induction", program, alphabet, longest, True, _any_of(alphabet))


class Facts(NamedTuple):
    """Where people live, and in which countries that is."""

    city_of: dict[str, str]
    country_of: dict[str, str]


def plant_facts(*, people: int = 8, cities: int = 5, countries: int = 3, seed: int = 0) -> Facts:
    """Random facts, of which no city and no country goes without. Raises BadInput where there are more countries than
    cities, or cities than people."""
    if not 1 <= countries <= cities <= people:
        raise BadInput(
            f"There are as many cities as countries at least, and people as cities; received {people} people, {cities} "
            f"cities and {countries} countries."
        )
    random = np.random.default_rng(seed)

    def onto(kind: str, n: int, of: str, n_of: int) -> dict[str, str]:
        among = random.permutation([*range(n_of), *random.integers(0, n_of, size=n - n_of).tolist()])
        return {f"{kind}{i}": f"{of}{j}" for i, j in enumerate(among.tolist())}

    return Facts(onto("person", people, "city", cities), onto("city", cities, "country", countries))


def two_hop(facts: Facts | None = None, *, longest: int = 10) -> Task:
    """People, each with a question: after "city?" the answer is the city of the person before, after "country?" the
    country of that city, which nothing says of the person directly. The MLP of block 0 knows cities of people, a head
    of block 1 carries the city to the question, the MLP there knows countries of cities, and one after it chooses.
    Without ``facts``, those of ``plant_facts()``."""
    city_of, country_of = facts or plant_facts()
    city = elementwise(city_of.get, tokens, name="city")
    before = select(indices, indices, lambda key, query: key == query - 1)
    of_person = aggregate(before, city, name="city of the person before")
    country = elementwise(country_of.get, of_person, name="country of that city")

    def answer(token: str, city: str | None, country: str | None) -> str | None:
        return {"city?": city, "country?": country}.get(token)

    program = elementwise(answer, tokens, of_person, country, name="answer")
    people, questions = tuple(city_of), ("city?", "country?")

    def draw(random: np.random.Generator, length: int) -> list[str]:
        return [str(random.choice(questions if i % 2 else people)) for i in range(length)]

    return Task("two_hop", program, (*people, *questions), longest, True, draw)


TASKS: tuple[Callable[[], Task], ...] = (reverse, sort, histogram, dyck1, induction, two_hop)
"""Every one, at the sizes that it has by default."""


def _any_of(alphabet: tuple[str, ...]) -> Draw:
    return lambda random, length: random.choice(alphabet, size=length).tolist()


def _brackets(random: np.random.Generator, length: int) -> list[str]:
    """Half of them random from somewhere on: those are soon broken, and the others never are."""
    found, height = [], 0
    good = length if random.random() < 0.5 else int(random.integers(0, length))
    for i in range(length):
        left = length - i
        opens = random.random() < 0.5
        if i < good:
            opens = height == 0 or opens and height < left
        found.append("(" if opens else ")")
        height += 1 if opens else -1
    return found
