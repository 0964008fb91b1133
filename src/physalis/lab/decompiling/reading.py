"""reading: read_program, a readable program from a model's weights and activations, run beside the model.

Nothing but the model is looked at: its tokens, what it answers, what its parts write, and where its heads look. Two
kinds of programs are tried, and the verb says which it found: steps over discrete variables (``workbench``), and sums
of waves (``waves``).
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from keyword import iskeyword
from typing import Literal

import numpy as np
import torch
from jaxtyping import Int64

from physalis.errors import BadInput
from physalis.lab.decompiling.passes import Passes
from physalis.lab.decompiling.primitives import name_of
from physalis.lab.decompiling.programs.columns import Array, Value
from physalis.lab.decompiling.programs.program import POSITIONS, TOKENS, Program
from physalis.lab.decompiling.reading_answers import read_answer
from physalis.lab.decompiling.reading_heads import read_head
from physalis.lab.decompiling.reading_mlps import read_mlp
from physalis.lab.decompiling.waves import WaveProgram, read_waves
from physalis.lab.decompiling.workbench import MATTERS_NOT, NOTHING_NEW, Workbench
from physalis.metrics import Interval, Ratio, share_estimate
from physalis.models import Model
from physalis.site import Site

FEWEST = 30
"""Different inputs, to learn from, to try on and to judge by."""
NOT_NEEDED, READ = "is not needed", "was read"
AGREES = 0.99
"""Share of the held-out inputs that a program has to answer as the model does."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """A program, and what it is worth."""

    program: Program | WaveProgram | None
    """None where nothing was found."""
    kind: Literal["steps", "waves"] | None
    why: str
    """Why nothing was found, or why what was found is not the model's program. Empty where it is."""
    agreement: Ratio | None
    """Of the held-out inputs, by input: whether the program gives every answer that the model gives."""
    most_frequent: Ratio
    """The same of whoever always gives the most frequent answer, at each place that is asked."""
    n_learned: int
    """Inputs that it was read from, all of them others than those that it is judged by."""
    table_length: int
    """Symbols of a plain list of the inputs that it was read from, and of their answers."""
    said: dict[str, str]
    """What each part of the model came to, by its name, as far as steps were read: a variable of the program, or that
    it does not matter, says nothing new, or is not needed."""

    @property
    def share(self) -> Interval | None:
        """The agreement with Wilson's 95 % interval over inputs."""
        return None if self.agreement is None else share_estimate(self.agreement)

    @property
    def baseline(self) -> Interval:
        return share_estimate(self.most_frequent)

    @property
    def is_read(self) -> bool:
        """Whether the program is the model's: it agrees, and is shorter than a list of what it was read from."""
        return not self.why

    def __str__(self) -> str:
        if self.program is None or self.share is None:
            return f"No program was found. {self.why}"
        n = len(self.most_frequent.num)
        said = f"Agrees with the model on {self.share['value']:.1%} of {n} inputs that it was not read from"
        sizes = f"{self.program.length} symbols; a list of what it was read from has {self.table_length:,}"
        return "\n".join([str(self.program), f"# {said}; {sizes}.", *([f"# {self.why}"] if self.why else [])])


def read_program(
    model: Model, inputs: Sequence[Sequence[int]], *, asked: slice = slice(1, None), name: str = "program",
    tolerance: float = 0.005, held_out: float = 1 / 3, seed: int = 0,
) -> Reading:  # fmt: skip
    """Read a program from a model over ``inputs``, token ids each, with what the model expects them to begin with.

    ``asked`` says at which tokens of an input, that beginning included, the model's answers count: its likeliest
    token. Of the inputs that differ a share is ``held_out`` to judge the program by. While it is read, at most
    ``tolerance`` of a third of the others may be answered otherwise. The same seed divides them in the same way.

    Raises BadInput for a name that is none, for fewer than 30 different inputs, for one that is empty or too long, for
    a share that leaves nothing on one side, and for ``asked`` that asks nothing of an input.
    """
    distinct = [*dict.fromkeys(tuple(each) for each in inputs)]
    if not name.isidentifier() or iskeyword(name):
        raise BadInput(f"A program is a function of Python, and {name!r} is no name of one. Choose another.")
    if len(distinct) < FEWEST:
        raise BadInput(
            f"A program is read from {FEWEST} different inputs or more; received {len(distinct)}. Draw more of them."
        )
    n_judged = round(held_out * len(distinct))
    if not 0 < n_judged <= len(distinct) - FEWEST // 2:
        raise BadInput(
            f"Of {len(distinct)} inputs, 1 to {len(distinct) - FEWEST // 2} can be held out; received a share of "
            f"{held_out:g}."
        )
    order = np.random.default_rng(seed).permutation(len(distinct))
    judged, read = ([distinct[i] for i in part] for part in (order[:n_judged], order[n_judged:]))
    passes = Passes(model, read, asked)
    words = [_words(model, each[passes.start :]) for each in read]
    learns = _learns([len(each) for each in read])
    inside = _inside(asked, passes.start)
    bench = _bench(passes, words, learns, tolerance)
    found: list[Program | WaveProgram] = []
    steps = _read_steps(bench, name, inside)
    if isinstance(steps, Program):
        found.append(_named(steps, words))
    waves = read_waves(passes, words, learns, name=name, asked=inside)
    if isinstance(waves, WaveProgram):
        found.append(waves)
    why = "" if found else f"{steps}. {waves}." if isinstance(steps, str) and isinstance(waves, str) else ""
    tried = np.flatnonzero(~learns)
    truth = _said_by(model, passes.answers({})[tried])

    def worth(program: Program | WaveProgram) -> tuple[float, int]:
        return float(_ratio(program.run([words[i] for i in tried]), truth).num.sum()), -program.length

    return _judged(model, passes, max(found, key=worth, default=None), judged, asked, why, bench)


def _learns(lengths: Sequence[int]) -> Array:
    """Two of three inputs of each length: the first of them, so that of few there is one to learn from."""
    learns, seen = np.zeros(len(lengths), bool), Counter[int]()
    for i, length in enumerate(lengths):
        learns[i] = seen[length] % 3 < 2
        seen[length] += 1
    if learns.all():  # no length comes three times
        learns[len(learns) // 3 * 2 :] = False
    return learns


def _bench(passes: Passes, words: list[list[str]], learns: Array, tolerance: float) -> Workbench:
    model = passes.model
    patterns = passes.read([Site("attn_pattern", layer) for layer in range(model.n_layers)], {})
    causal = all(not x.triu(1).any() for x in patterns.values())
    parts = sum(x.shape[1] + 1 for x in patterns.values())
    return Workbench(passes, words, learns, causal=causal, tolerance=tolerance, parts=parts)


def _read_steps(bench: Workbench, name: str, asked: slice) -> Program | str:
    """Component by component, each read with those before it held at what the program says."""
    passes = bench.passes
    for layer in range(passes.model.n_layers):
        site = Site("z", layer)
        seen = passes.read([site, Site("attn_pattern", layer)], bench.held)
        z = seen[site]
        for head in range(seen[Site("attn_pattern", layer)].shape[1]):
            z, why = read_head(bench, layer, head, z)
            if why is not None:
                return why
        bench.held[site] = z
        read_mlp(bench, layer)
    found = read_answer(bench, _words(passes.model, range(passes.model.vocab_size)))
    if found is None:
        return f"The answer is no table of up to three of {', '.join(bench.columns)}"
    function, of = found
    return Program(
        name=name, steps=tuple(bench.steps), answer=function, of=of, asked=asked, causal=bench.causal,
        notes=bench.notes,
    ).pruned()  # fmt: skip


def _named(program: Program, words: Sequence[Sequence[str]]) -> Program:
    """With usual names for what equals something usual, and numbers for the rest."""
    columns, names = program.columns(words), {}
    for i, step in enumerate(program.steps):
        usual = name_of(columns[step.name], words, causal=program.causal, taken={TOKENS, POSITIONS, *names.values()})
        names[step.name] = usual or f"v{i + 1}"
    return program.renamed(names)


def _judged(
    model: Model, passes: Passes, program: Program | WaveProgram | None, judged: Sequence[tuple[int, ...]],
    asked: slice, why: str, bench: Workbench,
) -> Reading:  # fmt: skip
    """What a program is worth on inputs that it was not read from."""
    trial, learned = Passes(model, judged, asked), passes.answers({})
    truth = _said_by(model, trial.answers({}))
    agreement, table = None, int(passes.exists[:, passes.start :].sum() + (learned >= 0).sum())
    if program is not None:
        agreement = _ratio(program.run([_words(model, each[passes.start :]) for each in judged]), truth)
        why = _doubt(program, float(agreement.num.mean()), table)
    usual = [Counter(row[row >= 0].tolist()).most_common(1) for row in learned.T]
    always = np.full(max(len(usual), trial.asked.shape[1]), -1)
    always[: len(usual)] = [most[0][0] if most else -1 for most in usual]
    guessed = np.where(trial.asked, np.maximum(0, always[: trial.asked.shape[1]]), -1)
    return Reading(
        program=program,
        kind=None if program is None else "waves" if isinstance(program, WaveProgram) else "steps",
        why=why,
        agreement=agreement,
        most_frequent=_ratio(_said_by(model, guessed), truth),
        n_learned=len(learned),
        table_length=table,
        said={} if isinstance(program, WaveProgram) else {p: _said(p, w, program) for p, w in bench.said.items()},
    )


def _said(part: str, what: str, program: Program | None) -> str:
    if what in (MATTERS_NOT, NOTHING_NEW):
        return what
    kept = [] if program is None else [step.name for step in program.steps if step.component == part]
    return ", ".join(kept) or (READ if program is None else NOT_NEEDED)


def _doubt(program: Program | WaveProgram, share: float, table: int) -> str:
    if share < AGREES:
        return f"It is not the model's program: it answers {share:.1%} of inputs as the model does, not {AGREES:.0%}."
    if program.length >= table:
        return f"It says no more than a list: it has {program.length:,} symbols, and a list of its inputs {table:,}."
    return ""


def _said_by(model: Model, ids: Int64[Array, "inputs places"]) -> list[tuple[Value, ...]]:
    """Answers by their token, input by input; -1 is none."""
    spelled = _words(model, range(model.vocab_size))
    return [tuple(spelled[i] for i in row if i >= 0) for row in ids.tolist()]


def _ratio(said: Sequence[tuple[Value, ...]], truth: Sequence[tuple[Value, ...]]) -> Ratio:
    """By input, whether every answer is the same."""
    num = torch.tensor([each == true for each, true in zip(said, truth, strict=True)], dtype=torch.float64)
    return Ratio(num, torch.ones_like(num))


def _inside(asked: slice, start: int) -> slice:
    """``asked`` among the tokens without what inputs begin with."""

    def moved(end: int | None) -> int | None:
        return end if end is None or end < 0 else max(0, end - start)

    return slice(moved(asked.start), moved(asked.stop))


def _words(model: Model, ids: Sequence[int]) -> list[str]:
    return [piece.strip() for piece in model.token_strings(ids)]
