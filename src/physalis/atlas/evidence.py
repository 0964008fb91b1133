"""evidence: how much each panel of a feature's page is worth as evidence, from what was computed for it. No torch.

- causal: the model or its text was edited, and the panel tells what changed.
- tested: the panel makes a claim that an edit could have refuted, and the edit bore it out.
- correlational: things were seen together, or follow from the weights alone.
"""

from collections.abc import Sequence

from physalis.atlas.headlines import ARROW
from physalis.atlas.records import Causes, Estimate, Evidence, ExampleGroup, Neighbour, TokenCount, TokenEffect

PANELS = ("examples", "top_tokens", "promoted", "neighbours", "ablation", "leave_one_out", "headline")

OWN = 0.5
"""Share of the activation that has to go with the token it fires on for "it fires on this token" to be borne out."""
UNTRIED = "No edit has tried it."


def worth(
    *, headline: str, n_fired: int, groups: Sequence[ExampleGroup], top_tokens: Sequence[TokenCount],
    promoted: Sequence[TokenEffect], neighbours: Sequence[Neighbour], causes: Causes | None, unmeasured: str,
) -> list[Evidence]:  # fmt: skip
    """One entry for each of PANELS, in their order. ``unmeasured`` says why ``causes`` is None."""
    if n_fired == 0:
        return [Evidence(panel=panel, level=None, why="It never fires.") for panel in PANELS]
    tokens, effects = _top_tokens(top_tokens, causes), _promoted(promoted, causes)
    said = effects if headline.startswith(ARROW) else tokens
    listed = "promotes" if headline.startswith(ARROW) else "fires on"
    return [
        _examples(groups),
        tokens,
        effects,
        _neighbours(neighbours),
        _ablation(causes, unmeasured),
        _leave_one_out(causes, unmeasured),
        Evidence(panel="headline", level=said.level, why=f"It names tokens that the feature {listed}. {said.why}"),
    ]


def _examples(groups: Sequence[ExampleGroup]) -> Evidence:
    n = sum(len(group.examples) for group in groups)
    why = f"{n} places at which it fires, chosen by its activation alone: when it fires, not why, nor what that does."
    return Evidence(panel="examples", level="correlational", why=why)


def _top_tokens(top_tokens: Sequence[TokenCount], causes: Causes | None) -> Evidence:
    counted = f"These carry {_share(sum(t.share_of_code for t in top_tokens))} of its total activation."
    if causes is None:
        return Evidence(panel="top_tokens", level="correlational", why=f"{counted} {UNTRIED}")
    own = [need for left in causes.leave_one_out for need in left.needs[-1:]]
    if not own:
        why = f"{counted} No example of its largest activations could be read with another token in its place."
        return Evidence(panel="top_tokens", level="correlational", why=why)
    least = min(own, key=lambda need: need.share)
    tried = f"With ordinary tokens instead of the one it fires on, {_share(least.share)} of its activation is lost"
    if least.share >= OWN:
        why = f"{counted} {tried}, in one example of its largest activations."
        return Evidence(panel="top_tokens", level="tested", why=why)
    why = f"{counted} {tried}: what comes before matters more than the token."
    return Evidence(panel="top_tokens", level="correlational", why=why)


def _promoted(promoted: Sequence[TokenEffect], causes: Causes | None) -> Evidence:
    if not promoted:
        why = "There is no direct path from its site to the logits."
        return Evidence(panel="promoted", level=None, why=why)
    product = "Its direction times the unembedding, as if no later layer read it."
    if causes is None or causes.ablation.promoted is None:
        return Evidence(panel="promoted", level="correlational", why=f"{product} {UNTRIED}")
    moved = causes.ablation.promoted
    done = f"Removing it moved these tokens' logits by {_estimate(moved)} beyond those of all tokens"
    if moved.high is not None and moved.high < 0:
        return Evidence(panel="promoted", level="tested", why=f"{product} {done}: it does promote them.")
    return Evidence(
        panel="promoted", level="correlational", why=f"{product} {done}: that it promotes them is not shown."
    )


def _neighbours(neighbours: Sequence[Neighbour]) -> Evidence:
    if not neighbours:
        return Evidence(panel="neighbours", level=None, why="It has no neighbours.")
    why = "Cosines of directions and correlations of when they fire: alike or together is not one because of the other."
    return Evidence(panel="neighbours", level="correlational", why=why)


def _ablation(causes: Causes | None, unmeasured: str) -> Evidence:
    if causes is None:
        return Evidence(panel="ablation", level=None, why=unmeasured)
    found = causes.ablation
    beyond = found.beyond_random
    verdict = "which it is not shown to differ from"
    if beyond.low is not None and beyond.low > 0:
        verdict = "so it helps to predict more than a direction does by chance"
    elif beyond.high is not None and beyond.high < 0:
        verdict = "so it helps to predict less than a direction does by chance"
    why = (
        f"Removed inside the model on {len(found.examples)} examples, each level of activation counting by its share "
        f"of the tokens where it fires, it changed the loss by {_estimate(found.change)} nats a token; a random "
        f"direction of its length by {_estimate(found.random)}, {verdict}."
    )
    return Evidence(panel="ablation", level="causal", why=why)


def _leave_one_out(causes: Causes | None, unmeasured: str) -> Evidence:
    if causes is None:
        return Evidence(panel="leave_one_out", level=None, why=unmeasured)
    if not causes.leave_one_out:
        why = "No example of its largest activations has text before its peak."
        return Evidence(panel="leave_one_out", level=None, why=why)
    tokens = sum(len(left.needs) for left in causes.leave_one_out)
    times = causes.leave_one_out[0].replacements
    why = (
        f"Its activation at the peak of {_n(len(causes.leave_one_out), 'example')}, with each of {_n(tokens, 'token')} "
        f"replaced {_n(times, 'time')}. What holds in one text may not hold in another."
    )
    return Evidence(panel="leave_one_out", level="causal", why=why)


def _estimate(e: Estimate) -> str:
    if e.low is None or e.high is None:
        return f"{e.value:+.2g}"
    return f"{e.value:+.2g} ({e.low:+.2g} to {e.high:+.2g})"


def _share(value: float) -> str:
    return f"{100 * value:.0f} %"


def _n(count: int, what: str) -> str:
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"
