"""What is taken away is what is said, where it is said, and nothing else."""

import pytest
import torch

from physalis import dictionaries
from physalis.suites import BestK
from physalis.suites.effects import METRICS, _removal, effects


def test_a_removal_touches_one_place_of_the_rows_it_is_for():
    x, ends = torch.zeros(8, 5, 3), torch.tensor([2, 4])
    taken = torch.arange(1.0, 4)[:, None, None].expand(3, 2, 3)
    out = _removal(taken, ends)(x.clone())
    assert torch.equal(out[:2], x[:2])
    for kind in (1, 2, 3):
        for row, end in enumerate(ends):
            here = out[2 * kind + row]
            assert torch.equal(here[end], torch.full((3,), -float(kind)))
            assert int((here != 0).any(1).sum()) == 1


def test_effects_are_those_of_the_round(tiny, tiny_activations, tiny_dictionary):
    of = dictionaries.load(tiny_dictionary)
    silent = BestK(of, torch.zeros(of.config.n_features))
    subjects = {"all": of, "again": of, "silent": silent}
    found = {
        (each.metric, each.subject): each.value for each in effects(subjects, tiny_activations, tiny, 0, features=8)
    }
    for metric in METRICS:
        assert found[metric.name, "all"] == pytest.approx(found[metric.name, "again"]) and found[metric.name, "all"] > 0
        assert found[metric.name, "silent"] is None
    other = {(each.metric, each.subject): each.value for each in effects({"all": of}, tiny_activations, tiny, 1)}
    assert other[METRICS[0].name, "all"] != found[METRICS[0].name, "all"]
