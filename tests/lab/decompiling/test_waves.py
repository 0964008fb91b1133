"""Sums modulo p: a program of waves answers them, and is only read from what is embedded in few frequencies."""

from itertools import product
from typing import Any

import numpy as np
import pytest
import torch

from physalis.lab.decompiling import WaveProgram, addition, brackets
from physalis.lab.decompiling.passes import Passes
from physalis.lab.decompiling.waves import read_waves
from physalis.site import Site

P = 11
EMBED, LOGITS = Site("embed"), Site("logits")
PAIRS = [(str(a), str(b), "=") for a, b in product(range(P), repeat=2)]


def program(sign=1, waves=None) -> WaveProgram:
    return WaveProgram(
        name="sums", p=P, places=(0, 1), sign=sign, waves={2: 3.0, 5: 1.0} if waves is None else waves,
        asked=slice(-1, None), kept=1.0, without=0.0, explained=1.0,
    )  # fmt: skip


@pytest.mark.parametrize("sign", [1, -1])
def test_waves_add_up_at_the_answer(sign):
    said = program(sign).run(PAIRS)
    assert said == [(str((int(a) + sign * int(b)) % P),) for a, b, _ in PAIRS]
    assert program(sign).length == 13 and program().run([]) == []


def planted(sign: int, frequencies=(2, 5)):
    """The embedding of a model, and answers made of it by the sums of angles: what a model that adds computes."""
    toy = addition(p=P, width=16, heads=2, neurons=8, steps=1)
    module: Any = toy.model.hf
    k = np.array(frequencies)[:, None] * 2 * np.pi * np.arange(P) / P
    table = torch.zeros(P, 16)
    table[:, : 2 * len(frequencies)] = torch.from_numpy(np.concatenate([np.cos(k), np.sin(k)]).T).float()
    module.embed.weight[:P] = table
    passes = Passes(toy.model, [[a, b, P] for a, b in product(range(P), repeat=2)], toy.asked)

    def logits_of(held):
        """What a model says that reads the waves at both places: each frequency that is missing is missed."""
        x = next(iter(held.values()), None)
        x = passes.read([EMBED], {})[EMBED] if x is None else x
        n = len(frequencies)
        cos, sin = x[:, :2, :n].double(), x[:, :2, n : 2 * n].double()
        real = cos[:, 0] * cos[:, 1] - sign * sin[:, 0] * sin[:, 1]
        turned = sin[:, 0] * cos[:, 1] + sign * cos[:, 0] * sin[:, 1]
        angle = torch.from_numpy(k.T)
        return real @ angle.cos().T + turned @ angle.sin().T

    read = passes.read

    def answers(held, of=None):
        found = np.full(passes.exists.shape, -1)
        found[:, -1] = logits_of(held).argmax(-1).numpy()
        return found

    def reads(sites, held):
        if sites == [LOGITS]:
            full = torch.zeros(len(PAIRS), 3, P + 2)
            full[:, -1, :P] = logits_of(held).float()
            return {LOGITS: full}
        return read(sites, held)

    passes.answers, passes.read = answers, reads
    return passes


@pytest.mark.parametrize("sign", [1, -1])
def test_planted_waves_are_found(sign):
    learns = np.arange(len(PAIRS)) % 3 < 2
    found = read_waves(planted(sign), PAIRS, learns, name="sums", asked=slice(-1, None))
    assert isinstance(found, WaveProgram)
    assert {*found.waves} <= {2, 5} and found.sign == sign and found.explained > 0.4
    assert found.kept >= 0.95 and found.without < 0.6


def test_waves_that_the_logits_are_not_made_of_are_none():
    """A model that learned nothing answers alike with whatever frequencies: they keep its answers, and explain none."""
    toy = addition(p=P, width=16, heads=2, neurons=8, steps=1)
    inputs = [[a, b, P] for a, b in product(range(P), repeat=2)]
    learns = np.arange(len(inputs)) % 3 < 2
    said = read_waves(Passes(toy.model, inputs, toy.asked), PAIRS, learns, name="x", asked=toy.asked)
    assert said == "The waves of the numbers account for 0% of what the logits tell apart"


def test_what_is_no_sum_is_told():
    toy = brackets(length=4, steps=0)
    inputs = toy.inputs(20)
    words = [["()"[i] for i in each[1:]] for each in inputs]
    said = read_waves(Passes(toy.model, inputs, toy.asked), words, np.ones(20, bool), name="x", asked=slice(None))
    assert said == "There are no two places with the numbers from 0 on, 5 at least, and one answer"
