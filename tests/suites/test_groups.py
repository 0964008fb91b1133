"""Dictionaries that differ in their seed alone are one group."""

import pytest

from physalis.errors import BadInput
from physalis.suites import grouped


def test_seeds_are_one_group_and_widths_are_not(seeds, tiny_dictionary):
    wide, narrow = grouped(seeds)
    assert wide.folders == seeds[:2] and wide.seeds == 2 and [wide.of(i) for i in range(4)] == [0, 1, 0, 1]
    assert (wide.name, narrow.name) == ("topk, n_features 128", "topk, n_features 64")
    assert [each.name for each in grouped(seeds[:2])] == ["topk"]
    assert grouped(seeds[1::-1])[0].folders == seeds[:2]
    names = [each.name for each in grouped([seeds[0], tiny_dictionary])]
    assert all("epochs" in each for each in names)


def test_one_is_named_once(seeds, tmp_path):
    with pytest.raises(BadInput, match="Name each once"):
        grouped([seeds[0], seeds[0]])
    with pytest.raises(BadInput):
        grouped([tmp_path])
