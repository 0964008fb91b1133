"""program: Program, what was read from a model, to be run and to be printed.

It is Python: after ``from physalis.lab.decompiling.programs.prelude import *`` its text runs as it stands.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Bool

from physalis.lab.decompiling.programs.columns import Array, Column, Value, column_of
from physalis.lab.decompiling.programs.functions import Function, Spelled
from physalis.lab.decompiling.programs.steps import Apply, Step

TOKENS, POSITIONS = "token", "position"


def given(inputs: Sequence[Sequence[str]]) -> dict[str, Column]:
    """What every program begins with: the tokens, and their positions from 0 on."""
    return {TOKENS: column_of(inputs), POSITIONS: column_of([range(len(each)) for each in inputs])}


def visible(exists: Bool[Array, "inputs tokens"], causal: bool) -> Bool[Array, "inputs tokens tokens"]:
    """From which position (row) which others can be seen."""
    seen = exists[:, :, None] & exists[:, None, :]
    return seen & np.tri(exists.shape[1], dtype=bool) if causal else seen


@dataclass(frozen=True, eq=False, kw_only=True)
class Program:
    """Steps, each after those that it reads, and the answer as a function of them."""

    name: str
    steps: tuple[Step, ...]
    answer: Function
    of: tuple[str, ...]
    """Variables that the answer is made of."""
    asked: slice
    """Of the tokens of an input, those at which the model answers."""
    causal: bool
    """Whether no position sees a later one."""
    notes: Mapping[str, str] = field(default_factory=dict)
    """What is known of a step, by its name."""

    @property
    def length(self) -> int:
        """Symbols that are written: names and constants."""
        return sum(step.length for step in self.steps) + len(self.of) + self.answer.length

    @property
    def components(self) -> tuple[str, ...]:
        """The parts of the model that its steps were read from."""
        return tuple(dict.fromkeys(step.component for step in self.steps))

    def columns(self, inputs: Sequence[Sequence[str]]) -> dict[str, Column]:
        """Every variable, by its name."""
        found = given(inputs)
        seen = visible(found[TOKENS].exists, self.causal)
        for step in self.steps:
            found[step.name] = step.column(found, seen)
        return found

    def run(self, inputs: Sequence[Sequence[str]]) -> list[tuple[Value, ...]]:
        """The answers to inputs of any lengths, at the tokens that are ``asked``. The model is not."""
        if not inputs:
            return []
        said = Apply("answer", "logits", self.answer, self.of).column(self.columns(inputs))
        return [row[self.asked] for row in said.rows()]

    def __str__(self) -> str:
        lines = [f"def {self.name}({TOKENS}):"]
        if POSITIONS in {*self.of}.union(*(step.reads for step in self.steps)):
            lines.append(f"    {POSITIONS} = positions({TOKENS})")
        for step in self.steps:
            note = self.notes.get(step.name)
            lines.append(f"    {step.name} = {step.text(self.causal)}  # {step.component}{note and ', ' + note or ''}")
        if isinstance(self.answer, Spelled):
            said = f"[str(x) for x in {self.of[0]}]"
        else:
            said = Apply("", "", self.answer, self.of).text(self.causal)
        return "\n".join([*lines, f"    return {said}{_between(self.asked)}"])

    def renamed(self, names: Mapping[str, str]) -> "Program":
        """With other names of variables, those that ``names`` does not have staying."""
        every = {name: name for name in (TOKENS, POSITIONS)}
        every |= {step.name: names.get(step.name, step.name) for step in self.steps}
        return replace(
            self,
            steps=tuple(step.renamed(every) for step in self.steps),
            of=tuple(every[each] for each in self.of),
            notes={every[name]: note for name, note in self.notes.items() if name in every},
        )

    def pruned(self) -> "Program":
        """Without what the answer is not made of."""
        needed = {*self.of}
        kept: list[Step] = []
        for step in reversed(self.steps):
            if step.name in needed:
                needed |= {*step.reads}
                kept.append(step)
        return replace(self, steps=tuple(reversed(kept)))


def _between(asked: slice) -> str:
    first, last = asked.start or 0, asked.stop
    return "" if first == 0 and last is None else f"[{first or ''}:{'' if last is None else last}]"
