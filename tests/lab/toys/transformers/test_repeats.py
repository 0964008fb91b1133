"""Repeats: what the sequences promise."""

import torch

from physalis.lab.toys.transformers.repeats import LENGTH, SHORTEST, course, repeated, twice


def test_sequences_come_again():
    tokens = repeated(torch.Generator().manual_seed(0), 2, 50)
    periods = range(SHORTEST, LENGTH // 2 + 1)
    again = [[(each[p:] == each[:-p]).all().item() for p in periods] for each in tokens.flatten(0, 1)]
    assert all(map(any, again)) and len({row.index(True) for row in again}) > 5


def test_what_comes_twice_is_all_different():
    tokens = twice(2, 5)
    assert torch.equal(tokens[..., : LENGTH // 2], tokens[..., LENGTH // 2 :])
    assert all(len(set(each.tolist())) == LENGTH // 2 for each in tokens[0]) and torch.equal(tokens[0], tokens[1])


def test_a_course_measures_what_it_kept():
    run = course(layers=1, heads=1, width=8, steps=20, seeds=2)
    assert run.training.steps == [0, 20] and run.prefix.shape == (2, 2, 1, 1) and run.learning.shape == (2, 2)
    assert run.top(1, run.prefix) == [(0, 0)]
