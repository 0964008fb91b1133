"""head_scores: HeadScores, where the heads of a model look, by rules that say which places count.

An induction head looks at what followed the token the last time that it stood there, and a head before it carries each
token to its next place. On tokens of chance that come twice, nothing but that helps to foretell the second half, so
there such heads show (Olsson et al. 2022, arXiv 2209.11895: prefix matching, previous-token heads). A rule is a
function of the tokens; a score is the mean weight on the places that it names, over the positions for which it names
one.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Float64, Int, Int64
from torch import Tensor

from physalis.errors import BadInput
from physalis.metrics import Interval, Ratio, Sums
from physalis.models import Model, Write
from physalis.models.text.prompting import first_id
from physalis.patching.metric import check_tokens
from physalis.site import Site

PATTERNS = 1 << 26
"""Weights that one pass may have in all its patterns."""

Rule = Callable[[Int[Tensor, "contexts context"]], Bool[Tensor, "contexts query key"]]
"""Which places count, for each position that looks."""


class Head(NamedTuple):
    """One head of a model."""

    layer: int
    head: int

    def __str__(self) -> str:
        return f"L{self.layer}.H{self.head}"


class Scored(NamedTuple):
    """A head, and what it has of a score."""

    head: Head
    score: Interval


def previous_token(tokens: Int[Tensor, "contexts context"]) -> Bool[Tensor, "contexts query key"]:
    """The position before."""
    n = tokens.shape[1]
    return torch.ones(n, n, dtype=torch.bool, device=tokens.device).tril(-1).triu(-1).expand(len(tokens), n, n)


def duplicate_token(tokens: Int[Tensor, "contexts context"]) -> Bool[Tensor, "contexts query key"]:
    """Earlier positions of the same token."""
    return (tokens[:, :, None] == tokens[:, None, :]).tril(-1)


def induction(tokens: Int[Tensor, "contexts context"]) -> Bool[Tensor, "contexts query key"]:
    """Positions right after earlier ones of the same token."""
    return torch.nn.functional.pad(duplicate_token(tokens)[..., :-1], (1, 0))


def first_token(tokens: Int[Tensor, "contexts context"]) -> Bool[Tensor, "contexts query key"]:
    """The first position of the context, for all others: where heads look that find nothing."""
    named = torch.zeros(*tokens.shape, tokens.shape[1], dtype=torch.bool, device=tokens.device)
    named[:, 1:, 0] = True
    return named


RULES: tuple[Rule, ...] = (previous_token, induction, duplicate_token, first_token)


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class HeadScore:
    """Of all heads by one rule: the mean weight on the places that it names. Float32 on the CPU."""

    value: Float[Tensor, "layers heads"]
    low: Float[Tensor, "layers heads"]
    """Of the 95 % interval over contexts; NaN where there are too few for one."""
    high: Float[Tensor, "layers heads"]
    uniform: float
    """What a head scores that looks at all it can see alike."""

    def of(self, head: Head) -> Interval:
        """What one head scores."""
        value, low, high = (float(each[head.layer, head.head]) for each in (self.value, self.low, self.high))
        return {"value": value, "low": low if low == low else None, "high": high if high == high else None}

    def top(self, n: int = 5) -> list[Scored]:
        """The ``n`` heads that score highest, all of them where there are fewer."""
        if n < 1:
            raise BadInput(f"At least 1 head is listed; received {n}.")
        at = self.value.flatten().topk(min(n, self.value.numel())).indices.tolist()
        heads = [Head(*divmod(i, self.value.shape[1])) for i in at]
        return [Scored(head, self.of(head)) for head in heads]


@dataclass(frozen=True, eq=False, slots=True)
class HeadScores(Mapping[str, HeadScore]):
    """The score of every head by every rule, under the rule's name."""

    scores: Mapping[str, HeadScore]
    contexts: int

    def __getitem__(self, name: str) -> HeadScore:
        """Raises BadInput for a rule that was not asked for, and for one that named no place in these tokens."""
        if name not in self.scores:
            raise BadInput(
                f"There is no score {name!r}: it was not asked for, or no token of these contexts has such a place. "
                f"There are {', '.join(self.scores) or 'none'}."
            )
        return self.scores[name]

    def __contains__(self, name: object) -> bool:
        return name in self.scores

    def __iter__(self) -> Iterator[str]:
        return iter(self.scores)

    def __len__(self) -> int:
        return len(self.scores)

    def __repr__(self) -> str:
        best = ", ".join(
            f"{name} {found.head} {found.score['value']:.2f}" for name in self for found in self.top(name, 1)
        )
        return f"HeadScores({self.contexts} contexts; best: {best})"

    def top(self, name: str, n: int = 5) -> list[Scored]:
        """The ``n`` heads that score highest by a rule."""
        return self[name].top(n)

    def record(self, n: int = 5) -> dict[str, Any]:
        """The best heads by each rule, as JSON."""
        return {
            name: {
                "uniform": score.uniform, "median": float(score.value.median()),
                "heads": [{"head": str(each.head), **each.score} for each in score.top(n)],
            }
            for name, score in self.scores.items()
        }  # fmt: skip


def repeated_tokens(
    model: Model, *, sequences: int = 16, length: int = 50, seed: int = 0
) -> Int64[Tensor, "sequences context"]:
    """Contexts of ``length`` tokens of chance, no two alike, that come twice, after the token that contexts begin with
    where the model has one. The same seed gives the same tokens.

    Raises BadInput for fewer than 2 tokens, for more than the model has, and for contexts longer than it reads."""
    first = first_id(model)
    ids = model.known_ids.clone().cpu()
    ids[[i for i in {first, model.separator_id, *model.ends} if i is not None and i < len(ids)]] = False
    known = ids.nonzero()[:, 0]
    if not 2 <= length <= len(known):
        raise BadInput(
            f"From 2 to {len(known):,} tokens of {model.name} can be drawn without one coming twice; received {length}."
        )
    if sequences < 1:
        raise BadInput(f"At least 1 sequence is drawn; received {sequences}.")
    model.check_length(2 * length + (first is not None), "A sequence that comes twice", "Draw a shorter one.")
    random = torch.Generator().manual_seed(seed)
    drawn = torch.stack([known[torch.randperm(len(known), generator=random)[:length]] for _ in range(sequences)])
    begin = torch.full((sequences, 0 if first is None else 1), first or 0)
    return torch.cat([begin, drawn, drawn], 1)


def head_scores(
    model: Model, tokens: Int[Tensor, "contexts context"] | None = None, *, rules: Sequence[Rule] = RULES,
    write: Mapping[Site, Write] = {},
) -> HeadScores:  # fmt: skip
    """What every head scores by each rule on ``tokens``, ``repeated_tokens(model)`` unless given. A rule that names no
    place in them is left out. ``write`` is written in the passes, to see what is left of a score without something.

    Intervals are over contexts: of text, give contexts of different documents. Raises BadInput for tokens that the
    model cannot read, and for a model whose patterns cannot be read."""
    tokens = repeated_tokens(model) if tokens is None else tokens
    found, uniform = weights_by_rule(model, tokens, rules, write=write), {}
    seen = torch.arange(1, tokens.shape[1] + 1)
    for rule in rules:
        named = rule(tokens.cpu()).sum(-1)
        uniform[rule.__name__] = float((named / seen).sum() / (named > 0).sum())
    return HeadScores(
        {name: _score(*sums, uniform[name]) for name, sums in found.items() if bool(sums[1].sum())}, len(tokens)
    )


@torch.no_grad()
def weights_by_rule(
    model: Model, tokens: Int[Tensor, "contexts context"], rules: Sequence[Rule], *, write: Mapping[Site, Write] = {}
) -> dict[str, tuple[Float64[Tensor, "contexts layers heads"], Float64[Tensor, " contexts"]]]:
    """For each rule the weight on its places, summed over the positions of a context, and how many positions have one.
    Raises BadInput as ``head_scores`` does."""
    check_tokens(model, tokens)
    sites = [Site("attn_pattern", layer) for layer in range(model.n_layers)]
    alone = model.run(torch.zeros(1, 1, dtype=torch.long), read=sites)
    counts = {x.shape[1] for x in alone.values()}
    if len(counts) > 1:
        raise BadInput(
            f"Layers of {model.name} have {' and '.join(map(str, sorted(counts)))} heads: they are no one table. "
            "Read Site('attn_pattern', layer) with Model.run, layer by layer."
        )
    each = max(1, PATTERNS // (len(sites) * counts.pop() * tokens.shape[1] ** 2))
    sums: dict[str, list[Tensor]] = {rule.__name__: [] for rule in rules}
    positions: dict[str, list[Tensor]] = {rule.__name__: [] for rule in rules}
    for some in tokens.to(model.device).split(each):
        got = model.run(some, read=sites, write=write)
        for rule in rules:
            named = rule(some)
            on = [torch.einsum("chqk,cqk->ch", got[site].float(), named.float()) for site in sites]
            sums[rule.__name__].append(torch.stack(on, 1).cpu().double())
            positions[rule.__name__].append(named.any(-1).sum(1).cpu().double())
    return {name: (torch.cat(sums[name]), torch.cat(positions[name])) for name in sums}


def _score(sums: Tensor, positions: Tensor, uniform: float) -> HeadScore:
    contexts = torch.arange(len(positions))
    found = []
    for one in sums.flatten(1).unbind(1):
        of = Sums()
        of.add(Ratio(one, positions), contexts)
        found.append(of.estimate())
    value, low, high = (
        torch.tensor([float("nan") if each[name] is None else each[name] for each in found]).view(sums.shape[1:])
        for name in ("value", "low", "high")
    )
    return HeadScore(value=value, low=low.clamp_min(0), high=high.clamp_max(1), uniform=uniform)
