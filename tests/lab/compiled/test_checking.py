"""Rules find the truth where there is one to be found, and do not where there is none."""

import numpy as np
import pytest
from sections import write_sections

from physalis.explanations import Rule
from physalis.lab.compiled import KNOWN
from physalis.lab.compiled.checking import GRAINS, PLANTED, of_programs, of_transformer

ENOUGH = 10
"""Held-out firings that a feature is judged by."""


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return write_sections(tmp_path_factory.mktemp("text") / "sections")


@pytest.fixture(scope="module")
def programs(source, tmp_path_factory):
    return of_programs(source, tmp_path_factory.mktemp("programs"), tokens=60_000, vocabulary=1_500)


def test_a_planted_program_is_found_on_documents_that_were_held_out(programs):
    assert [each.name for each in programs[: len(PLANTED)]] == [name for name, _ in PLANTED]
    judged = [each for each in programs if each.learned.n_held_out >= ENOUGH]
    assert len(judged) > len(PLANTED) - 6  # what is left is too rare in a text so short
    for each in judged:
        assert each.learned.detection.f1.value >= 0.95, f"{each.name}: {each.truth} was learned as {each.learned.rule}"
    assert {f"a group, {grain}" for grain in GRAINS} <= {each.name for each in judged}


def test_its_levels_are_found(programs):
    found = {each.name: each for each in programs}
    for name in ("a token", "a kind of token", "and not", "a token after a token"):
        truth = Rule.parse(str(found[name].truth))
        levels = {clause.level for clause in truth.clauses}
        learned = {clause.level for clause in found[name].learned.program.clauses}
        assert all(np.isclose(level, [*levels], rtol=0.02).any() for level in learned), found[name].learned.rule
        assert (found[name].learned.correlation or 0) > 0.95


def test_oracle_features_of_a_transformer_are_found_and_the_others_are_not(source, tmp_path):
    found = of_transformer(source, tmp_path, tokens=60_000, vocabulary=1_500)
    assert [each.name for each in found] == [known.name for known in KNOWN]
    for each in found:
        f1 = each.learned.detection.f1.value
        if each.truth is not None and each.learned.n_held_out >= ENOUGH:
            assert f1 >= 0.95, f"{each.name}: {each.truth} was learned as {each.learned.rule}"
        elif each.truth is None:  # what stood far before is not told by what stands near
            assert f1 < 0.9, f"{each.name} was learned as {each.learned.rule}"
