"""In a world the oracle is right, and who knows nothing is not."""

import pytest

from physalis.suites import grouped
from physalis.suites.known_truth import METRICS, known_truth


@pytest.fixture(scope="module")
def found(tiny_dictionary, tmp_path_factory):
    (group,) = grouped([tiny_dictionary])
    rows = known_truth([group], 0, tmp_path_factory.mktemp("worlds"), samples=65_536)
    return {(each.metric, each.subject): each.value for each in rows}


def test_the_oracle_is_right(found):
    assert found["world_f1", "oracle"] == pytest.approx(1) and found["world_mcc", "oracle"] == pytest.approx(1)
    assert found["world_unique", "oracle"] == 1 and found["world_absorption", "oracle"] == pytest.approx(0, abs=1e-6)


def test_who_learned_stands_between(found):
    order = [found["world_f1", name] for name in ("oracle", "topk", "best k", "random", "permuted")]
    assert order == sorted(order, reverse=True)
    assert found["world_parents", "topk"] > found["world_parents", "random"] > -0.1
    assert found["world_mcc", "permuted"] == pytest.approx(found["world_mcc", "topk"])  # why MCC alone says little
    assert {metric for metric, _ in found} == {each.name for each in METRICS}
