"""reading_answers: read_answer, how what a model answers is made of variables, whose values get names by that."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np

from physalis.lab.decompiling.fitting import Fitted, Observed, fit_answers
from physalis.lab.decompiling.programs.columns import Value
from physalis.lab.decompiling.programs.functions import Cuts, Function, Lookup
from physalis.lab.decompiling.programs.steps import Apply, Step
from physalis.lab.decompiling.workbench import Workbench, sides

MOST_READ = 3
"""Variables that the answer may be a function of."""
LOGITS = "logits"
OTHER = "other"
"""What a value is called that no answer gives a name."""


def read_answer(bench: Workbench, words: Sequence[str]) -> tuple[Function, tuple[str, ...]] | None:
    """What gives the answers of the model (``words`` by their token), a function of up to three variables; None where
    there is none. Of several it is the one with which the program is shortest. What it calls values that had no names
    is put into the bench's steps."""
    cut = {step.of for step in bench.steps if isinstance(step, Apply) and isinstance(step.function, Cuts)}
    for step in [step for step in sides(bench, LOGITS, finest_first=True) if step.of not in cut]:
        bench.add(replace(step, name=bench.fresh()), step.column(bench.columns))
    now = bench.passes.answers(bench.held)[:, bench.passes.start :]
    free = {name for name, root in bench.roots.items() if _is_renamable(bench, root)}
    found: list[tuple[int, Fitted, tuple[str, ...]]] = []
    for n in range(1, MOST_READ + 1):
        for names in combinations(bench.columns, n):
            observed = _observed(bench, names, now, words)
            if observed is None:
                continue
            for last in range(n):
                order = (*names[last + 1 :], *names[: last + 1])
                places = [names.index(name) for name in order]
                turned = {tuple(values[i] for i in places): said for values, said in observed.items()}
                fitted = fit_answers(turned, [name in free for name in order])
                found.append((fitted.function.length + n + _behind(bench.steps, names), fitted, order))
    if not found:
        return None
    _, (function, labels), order = min(found, key=lambda each: each[0])
    for i, names in labels.items():
        root = bench.roots[order[i]]
        bench.steps = [_relabelled(step, root, _all_named(bench, root, names), bench.roots) for step in bench.steps]
    return function, order


def _observed(bench: Workbench, names: tuple[str, ...], now: np.ndarray, words: Sequence[str]) -> Observed | None:
    """What is mostly answered with each combination of values, of the inputs that are learned from; None where the
    others are answered otherwise."""
    cells = bench.joint(names)
    if len(cells.values) > bench.most_cells:
        return None
    said: dict[int, Counter[int]] = defaultdict(Counter)
    known = bench.asked & bench.learns[:, None]
    for cell, answer in zip(cells.codes[known].tolist(), now[known].tolist(), strict=True):
        said[cell][answer] += 1
    most = np.full(len(cells.values), -2)
    for cell, answers in said.items():
        most[cell] = answers.most_common(1)[0][0]
    wrong = bench.asked & ~bench.learns[:, None] & (most[cells.codes] != now)
    if wrong.any(1)[~bench.learns].mean() > bench.tolerance:
        return None
    return {cells.values[cell]: words[int(most[cell])] for cell in said}


def _behind(steps: Sequence[Step], names: tuple[str, ...]) -> int:
    """Symbols of the steps that some variables are made of."""
    needed, length = {*names}, 0
    for step in reversed(steps):
        if step.name in needed:
            needed |= {*step.reads}
            length += step.length
    return length


def _is_renamable(bench: Workbench, root: str) -> bool:
    """Whether values are only carried and looked up: an order of them, or a list, would no longer hold."""
    copies = {name for name, of in bench.roots.items() if of == root}
    for step in bench.steps:
        if isinstance(step, Apply):
            if copies.intersection(step.of) and not isinstance(step.function, Lookup):
                return False
        elif copies & {step.selection.keys, step.selection.queries} or step.of in copies and step.carries != "value":
            return False
    return True


def _all_named(bench: Workbench, root: str, labels: Mapping[Value, Value]) -> dict[Value, Value]:
    """With a name for what is left, where that is one value."""
    rest = [value for value in bench.columns[root].values if value not in labels]
    return {**labels, **({rest[0]: OTHER} if len(rest) == 1 else {})}


def _relabelled(step: Step, root: str, labels: Mapping[Value, Value], roots: Mapping[str, str]) -> Step:
    if not isinstance(step, Apply) or not isinstance(step.function, Lookup):
        return step
    inputs = [labels if roots.get(name) == root else {} for name in step.of]
    return replace(step, function=step.function.relabelled(inputs, labels if step.name == root else {}))
