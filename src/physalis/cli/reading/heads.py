"""The command `physalis heads`: heads that look back, copy and foretell what repeats, and what is lost without them."""

from typing import Annotated

from cyclopts import Parameter

from physalis.cli.arguments.amounts import MOST, Count, Range, as_whole
from physalis.cli.arguments.help import verb
from physalis.cli.arguments.options import Json, Loading, Model_, Order, given


@verb(
    of="circuits.attention.head_scores.repeated_tokens", top="circuits.attention.head_scores.HeadScores.top.n",
    draws="circuits.attention.head_ablation.confirm_heads.draws", example="physalis heads smollm2",
)  # fmt: skip
def heads(
    model: Model_,
    /,
    *,
    sequences: Annotated[Count, Parameter(help="Sequences of chance to look at, each twice over.")] = None,
    length: Annotated[Count, Parameter(help="Tokens of a sequence, before it comes again.")] = None,
    top: Annotated[Count, Parameter(help="Heads to show by each score, and to take out.")] = None,
    draws: Annotated[
        int | None,
        Parameter(
            help="Draws of as many other heads that are taken out instead; 0 takes nothing out.",
            converter=as_whole, validator=Range(0, MOST), metavar="N",
        ),
    ] = None,
    seed: Order = None,
    loading: Loading = Loading(),  # noqa: B008 (frozen)
    json: Json = False,
) -> None:  # fmt: skip
    """Find induction, previous-token and copying heads.

    Where heads look is measured on tokens of chance that come twice, and held against the same model with its weights
    shuffled; whether they copy is read off their weights. Then those that look at the token before, and those that look
    at what followed the last time, are taken out, against as many other heads of the same layers.
    """
    from physalis.circuits import copying_scores, head_scores, repeated_tokens
    from physalis.cli.shown import heads as shown
    from physalis.models import shuffled

    loaded, chosen = loading.load(model), given(seed=seed)
    tokens = repeated_tokens(loaded, **given(sequences=sequences, length=length), **chosen)
    scores = head_scores(loaded, tokens)
    chance = head_scores(shuffled(loaded, **chosen), tokens)
    copying = copying_scores(loaded, **chosen)
    tests = None if draws == 0 else shown.tested(loaded, scores, tokens, given(n=top), given(draws=draws) | chosen)
    shown.show(loaded.name, scores, chance, copying, tests, given(n=top), json=json)
