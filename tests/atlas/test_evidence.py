"""What a panel is worth follows from what was computed: an edit, a claim that survived one, or neither."""

import pytest

from physalis.atlas.evidence import PANELS, worth
from physalis.atlas.records import (
    Ablation,
    Causes,
    Estimate,
    Evidence,
    ExampleGroup,
    LeaveOneOut,
    Neighbour,
    TokenCount,
    TokenEffect,
    TokenOcclusion,
)


def estimate(low: float, high: float) -> Estimate:
    return Estimate(value=(low + high) / 2, low=low, high=high)


def causes(*, promoted: Estimate | None = None, beyond: Estimate | None = None, own: float | None = 1.0) -> Causes:
    """``own`` is the share of the code that goes with the token it fires on; None if none was left out."""
    ablation = Ablation(
        change=estimate(0.1, 0.3), random=estimate(-0.1, 0.1), beyond_random=beyond or estimate(0.1, 0.3),
        promoted=promoted, fell=[], rose=[], examples=[],
    )  # fmt: skip
    needs = [TokenOcclusion(position=i, share=s, low=s, high=s) for i, s in enumerate([0.2, own or 0])]
    left = LeaveOneOut(group=0, example=0, code=1, replacements=3, needs=needs)
    return Causes(ablation=ablation, leave_one_out=[] if own is None else [left])


def judge(
    found: Causes | None, *, headline: str = "of · the", n_fired: int = 9, direct: bool = True
) -> dict[str, Evidence]:
    entries = worth(
        headline=headline,
        n_fired=n_fired,
        groups=[ExampleGroup(name="top", low=0, high=1, share_of_firings=1, share_of_code=1, examples=[])],
        top_tokens=[TokenCount(token=" the", id=1, count=3, share_of_code=0.7)],
        promoted=[TokenEffect(token=" of", id=2, logit=1)] if direct else [],
        neighbours=[Neighbour(id=1, value=0.5, headline="a")],
        causes=found,
        unmeasured="" if found else "It was not measured.",
    )
    assert tuple(entry.panel for entry in entries) == PANELS
    assert all(entry.why.endswith(".") for entry in entries)
    return {entry.panel: entry for entry in entries}


def test_nothing_measured_is_correlational():
    levels = {panel: entry.level for panel, entry in judge(None).items()}
    assert levels == {**dict.fromkeys(PANELS, "correlational"), "ablation": None, "leave_one_out": None}
    assert "It was not measured." in judge(None)["ablation"].why


def test_edits_are_causal_and_watching_never_is():
    found = judge(causes())
    assert found["ablation"].level == found["leave_one_out"].level == "causal"
    assert found["examples"].level == found["neighbours"].level == "correlational"
    assert "+0.2 (+0.1 to +0.3) nats a token" in found["ablation"].why
    assert judge(causes(own=None))["leave_one_out"].level is None


@pytest.mark.parametrize(("beyond", "said"), [
    (estimate(0.1, 0.3), "more than a direction does by chance"),
    (estimate(-0.1, 0.3), "not shown to differ"),
    (estimate(-0.3, -0.1), "less than a direction does by chance"),
])  # fmt: skip
def test_an_ablation_is_judged_by_its_baseline(beyond, said):
    assert said in judge(causes(beyond=beyond))["ablation"].why


@pytest.mark.parametrize(("promoted", "level"), [
    (estimate(-0.5, -0.1), "tested"),
    (estimate(-0.5, 0.1), "correlational"),
    (estimate(0.1, 0.5), "correlational"),
    (None, "correlational"),
])  # fmt: skip
def test_promoted_tokens_are_tested_by_removal(promoted, level):
    assert judge(causes(promoted=promoted))["promoted"].level == level


@pytest.mark.parametrize(("own", "level"), [(0.9, "tested"), (0.2, "correlational"), (None, "correlational")])
def test_top_tokens_are_tested_by_replacement(own, level):
    assert judge(causes(own=own))["top_tokens"].level == level


def test_a_headline_is_worth_what_it_is_made_of():
    found = causes(promoted=estimate(-0.5, -0.1), own=0.1)
    assert judge(found)["headline"].level == "correlational"
    assert judge(found, headline="→ of · in")["headline"].level == "tested"


def test_what_is_not_there_is_not_judged():
    assert judge(causes(), direct=False)["promoted"].level is None
    assert {entry.level for entry in judge(None, n_fired=0).values()} == {None}
