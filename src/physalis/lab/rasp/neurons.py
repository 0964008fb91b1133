"""neurons: Neuron, a ReLU of an MLP that computes an elementwise s-op: when it fires, and what it writes then.

1. Of n categories: one for each combination of values, ``ReLU(2 (a + b + ...) - (2 n - 1))``: 1 where all n are there
   and well below 0 where one is not, so that what is off is off although numbers are rounded. Values that a function
   treats alike stand for one, and what it does not depend on is not read.
2. Of a number: one that always fires and writes what comes out in the middle, and two for each place between neighbours
   where what comes out changes: the difference of their two ramps is a step there. They rise away from the middle, for
   what is told finely mostly lies at an end, and ramps that do not go far are rounded least.
"""

from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import product
from typing import NamedTuple

from physalis.errors import BadInput
from physalis.lab.rasp.language import Elementwise, SOp, Value
from physalis.lab.rasp.plan import AT_FIRST, Plan

STEEPEST = 2.0**16
"""How steep a ramp may be, per unit of the largest number or of the 1s beside it in the stream: float32 rounds those to
2^-24, so that a step is off by 2^-8, and where it stands leaves a quarter."""


class Neuron(NamedTuple):
    """``ReLU(sum of reads + bias)``, and what it adds to the stream for each unit. Coordinates are rows of the basis
    of the stream."""

    variable: str
    """Which it computes a part of."""
    says: str
    """When it fires."""
    reads: dict[int, float]
    bias: float
    writes: dict[int, float]


Table = dict[tuple[Value, ...], Value]


def make_neurons(sop: Elementwise, plan: Plan) -> list[Neuron]:
    """Those of one s-op. Raises BadInput for numbers that lie too near each other to be told apart."""
    of, table = _needed(sop.of, plan.domains.table(sop))
    made = _of_a_number if sop.of[0].is_numeric else _of_categories
    always = _always(sop, next(iter(table.values())), plan)
    return [always] if not of else [*made(sop, of, table, plan)]


def _needed(of: tuple[SOp, ...], table: Table) -> tuple[tuple[SOp, ...], Table]:
    """Without what changes nothing."""
    for i in range(len(of)):
        rest: dict[tuple[Value, ...], set[Value]] = {}
        for values, made in table.items():
            rest.setdefault(values[:i] + values[i + 1 :], set()).add(made)
        if all(len(made) == 1 for made in rest.values()):
            return _needed(of[:i] + of[i + 1 :], {values: made for values, (made,) in rest.items()})
    return of, table


def _always(sop: Elementwise, value: Value, plan: Plan) -> Neuron:
    return Neuron(plan.variables[sop].name, "always", {AT_FIRST: -2.0}, 1.0, plan.written(sop, value))


def _of_categories(sop: Elementwise, of: tuple[SOp, ...], table: Table, plan: Plan) -> Iterator[Neuron]:
    for values in product(*(_alike(table, i) for i in range(len(of)))):
        made = table[tuple(each[0] for each in values)]
        yield _conjunction(sop, [*zip(of, values, strict=True)], made, plan)


def _alike(table: Table, i: int) -> list[list[Value]]:
    """The values of what is read i-th, in groups of which the same is made whatever else is there."""
    rows: dict[Value, list[Value]] = {}
    for values, made in table.items():
        rows.setdefault(values[i], []).append(made)
    groups: dict[tuple[Value, ...], list[Value]] = {}
    for value, row in rows.items():
        groups.setdefault(tuple(row), []).append(value)
    return [*groups.values()]


def _conjunction(sop: Elementwise, parts: list[tuple[SOp, list[Value]]], made: Value, plan: Plan) -> Neuron:
    """Fires where each of some s-ops has one of its values."""
    reads = {AT_FIRST: -2.0 * len(parts)}  # a default of each may stand there, where nothing is to be written
    for each, values in parts:
        for value in values:
            for coordinate in plan.written(each, value):
                reads[coordinate] = reads.get(coordinate, 0.0) + 2.0  # an s-op may be read twice
    says = ", ".join(f"{plan.variables[each].name} = {' or '.join(map(str, values))}" for each, values in parts)
    return Neuron(plan.variables[sop].name, says, reads, 1.0 - 2 * len(parts), plan.written(sop, made))


def _of_a_number(sop: Elementwise, of: tuple[SOp, ...], table: Table, plan: Plan) -> Iterator[Neuron]:
    name, read = plan.variables[sop].name, plan.variables[of[0]]
    values: Sequence[Fraction] = [value for (value,) in table]  # pyright: ignore[reportAssignmentType]
    made = [*table.values()]
    centre = (values[0] + values[-1]) / 2
    yield _always(sop, made[sum(value <= centre for value in values) - 1], plan)
    for low, high, before, after in zip(values, values[1:], made, made[1:], strict=False):
        if before == after:
            continue
        slope, middle = float(2 / (high - low)), (low + high) / 2
        rises = high > centre
        reached = slope * float(values[-1] - middle if rises else middle - values[0])
        if slope * max(1.0, *(float(abs(value)) for value in (values[0], values[-1]))) > STEEPEST:
            raise BadInput(
                f"{sop.name!r} tells {low} from {high} among numbers from {values[0]} to {values[-1]}: too near each "
                f"other for weights in float32. Take a context below {plan.domains.context}, or coarser numbers."
            )
        sign, words = (1.0, "above") if rises else (-1.0, "below")
        step = plan.written(sop, after if rises else before)
        for coordinate, weight in plan.written(sop, before if rises else after).items():
            step[coordinate] = step.get(coordinate, 0.0) - weight
        for says, shift, adds in ((words, 0.5, 1.0), (f"well {words}", -0.5, -1.0)):
            # one of the values stands where an input begins
            reads = {read.place[0]: sign * slope, AT_FIRST: -(reached + 1.0)}
            writes = {coordinate: adds * weight for coordinate, weight in step.items()}
            bias = shift - sign * slope * float(middle)
            yield Neuron(name, f"{read.name} {says} {float(middle):.4g}", reads, bias, writes)
