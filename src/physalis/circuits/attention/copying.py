"""copying: CopyingScores, whether a head, where it looks at a token, speaks for that token: by its weights alone.

Two tests of ``W_E W_V W_O W_U``, which takes each token to what a head that looks at it adds to every token's logit.
Its eigenvalues: where they are positive, tokens raise themselves (Elhage et al. 2021; as its authors warn, that is no
proof, for eigenvectors need not stand at right angles). And its ranks: the share of tokens that are among the ``k``
they raise most, as for a name mover, or lower most, as where copying is suppressed (Wang et al. 2022, arXiv
2211.00593).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from physalis.circuits.attention.head_scores import Head, Scored
from physalis.circuits.attention.head_weights import Circuit, ov_circuits
from physalis.errors import BadInput
from physalis.metrics import Interval, Ratio, share_estimate
from physalis.models import Model, Write
from physalis.site import Site

EMBED = Site("embed")
AFTER_THE_FIRST_MLP = Site("resid_post", 0)
ROWS = 4096
"""Tokens that one pass reads."""
WEIGHTS = 1 << 28
"""Numbers that the circuits of the layers have that are read in one pass."""
CHANCE = 95
"""Per cent of heads of chance whose eigenvalue score lies between the ends that are told."""


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class CopyingScores:
    """Of all heads. Float32 on the CPU."""

    eigenvalues: Float[Tensor, "layers heads"]
    """Sum of the eigenvalues over the sum of their sizes: from -1 to 1."""
    by_chance: tuple[float, float]
    """Between which 95 % of heads behind the first layer would lie that had weights of chance."""
    copied: Float[Tensor, "layers heads"]
    """Share of ``tokens`` that are among the ``k`` that they raise most."""
    suppressed: Float[Tensor, "layers heads"]
    """Likewise among those that they lower most."""
    k: int
    tokens: int
    vocabulary: int
    """Tokens that are compared: ``k / vocabulary`` is what chance makes of both shares."""

    def share(self, found: Float[Tensor, "layers heads"], head: Head) -> Interval:
        """One head's share of ``copied`` or ``suppressed``, with its interval over tokens."""
        hits = torch.arange(self.tokens) < round(float(found[head]) * self.tokens)
        return share_estimate(Ratio(hits.float(), torch.ones(self.tokens)))

    def top(self, found: Float[Tensor, "layers heads"], n: int = 5) -> list[Scored]:
        """The ``n`` heads with the largest shares, ``copied`` or ``suppressed``."""
        if n < 1:
            raise BadInput(f"At least 1 head is listed; received {n}.")
        at = found.flatten().topk(min(n, found.numel())).indices.tolist()
        heads = [Head(*divmod(i, found.shape[1])) for i in at]
        return [Scored(head, self.share(found, head)) for head in heads]

    def record(self, n: int = 5) -> dict[str, Any]:
        """The best heads, as JSON."""
        shares = {
            name: self.top(found, n) for name, found in (("copied", self.copied), ("suppressed", self.suppressed))
        }
        said = {
            name: [{"head": str(at), **score, "eigenvalues": float(self.eigenvalues[at])} for at, score in best]
            for name, best in shares.items()
        }
        positive = float((self.eigenvalues > self.by_chance[1]).float().mean())
        return {
            **said, "chance": self.k / self.vocabulary, "k": self.k, "tokens": self.tokens,
            "eigenvalues_by_chance": list(self.by_chance), "above_chance": positive,
        }  # fmt: skip


@torch.no_grad()
def copying_scores(
    model: Model, *, k: int = 5, tokens: int = 200, embedded: Site = AFTER_THE_FIRST_MLP, draws: int = 200,
    seed: int = 0,
) -> CopyingScores:  # fmt: skip
    """Both scores of every head. ``tokens`` of them, drawn by ``seed``, are ranked among all that the model knows.

    What a token puts into the stream is read at ``embedded``, each alone, with the first layer's heads silenced: after
    the first MLP, as Wang et al. do it, unless given; heads of layer 0 read ``embed``. What is the same for all tokens,
    positions and biases among it, is left out, for a head writes that wherever it looks; so are the scales of norms,
    which change no sign and no rank. ``draws`` heads of chance say what the eigenvalues of such ones would be.

    Raises BadInput for a model whose values cannot be read or without a direct path to the logits, and for a ``k`` or
    ``tokens`` that are none or more than the model has."""
    known = model.known_ids.nonzero()[:, 0]
    for what, given in (("k", k), ("tokens", tokens), ("draws", draws)):
        if not 1 <= given or (what != "draws" and given > len(known)):
            raise BadInput(f"{what} is from 1 to the {len(known):,} tokens of {model.name}; received {given}.")
    out = model.unembedding()[known]
    random = torch.Generator().manual_seed(seed)
    drawn = torch.randperm(len(known), generator=random)[:tokens].to(known.device)
    of = {site: _Embedded(model, site, known, out, drawn) for site in dict.fromkeys((EMBED, embedded))}
    eigenvalues, copied, suppressed = [], [], []
    rank = 1
    for layers in _groups(model):
        for head, circuit in ov_circuits(model, layers).items():
            read = of[EMBED if head.layer == 0 else embedded]
            eigenvalues.append(positive_share(circuit, read.through))
            raised, lowered = read.ranks(circuit)
            copied.append(float((raised < k).float().mean()))
            suppressed.append(float((lowered < k).float().mean()))
            rank = circuit.left.shape[1]
    by_chance = _by_chance(of[embedded].through, rank, draws, random)
    named = {"eigenvalues": eigenvalues, "copied": copied, "suppressed": suppressed}
    tables = {name: torch.tensor(found).view(model.n_layers, -1) for name, found in named.items()}
    return CopyingScores(**tables, by_chance=by_chance, k=k, tokens=tokens, vocabulary=len(known))


def positive_share(circuit: Circuit, through: Float[Tensor, "d_model d_model"]) -> float:
    """The sum of the eigenvalues of ``circuit.matrix() @ through`` over the sum of their sizes; 0 where all are 0."""
    found = circuit.eigenvalues(through)
    size = found.abs().sum()
    return float(found.real.sum() / size) if size > 0 else 0.0


class _Embedded:
    """What tokens put into the stream at a site, and what of the stream speaks for each of them."""

    def __init__(
        self,
        model: Model,
        site: Site,
        known: Int64[Tensor, " vocab"],
        out: Float[Tensor, "vocab d_model"],
        drawn: Tensor,
    ) -> None:
        silent: dict[Site, Write] = {} if site == EMBED else {Site("attn_out", 0): torch.zeros_like}

        def puts(ids: Tensor) -> Tensor:
            return model.run(ids[:, None], read=[site], write=silent)[site][:, 0].float()

        self.out, self.drawn = out, drawn
        self.through = torch.zeros(out.shape[1], out.shape[1], device=out.device)
        """Sum over tokens of what speaks for each (rows) times what it puts there (columns)."""
        mean, centred = torch.zeros_like(out[0]), out - out.mean(0)
        for some, speaks in zip(known.split(ROWS), centred.split(ROWS), strict=True):
            x = puts(some)
            self.through += speaks.T @ x
            mean += x.sum(0) / len(known)
        self.rows = puts(known[drawn]) - mean

    def ranks(self, circuit: Circuit) -> tuple[Int64[Tensor, " tokens"], Int64[Tensor, " tokens"]]:
        """How many tokens each of those drawn raises more than itself, and lowers more."""
        logits = (self.rows @ circuit.left) @ (circuit.right @ self.out.T)
        own = logits.gather(1, self.drawn[:, None])
        return (logits > own).sum(1), (logits < own).sum(1)


def _by_chance(through: Tensor, rank: int, draws: int, random: torch.Generator) -> tuple[float, float]:
    found = []
    for _ in range(draws):
        left, right = (torch.randn(2, len(through), rank, generator=random).to(through.device)).unbind()
        found.append(positive_share(Circuit(left, right.T), through))
    ends = torch.tensor([(1 - CHANCE / 100) / 2, (1 + CHANCE / 100) / 2])
    low, high = torch.tensor(found).quantile(ends).tolist()
    return low, high


def _groups(model: Model) -> Sequence[range]:
    """Layers whose circuits are held at once."""
    each = max(1, WEIGHTS // (2 * model.d_model * model.width(Site("z", 0))))
    return [range(i, min(i + each, model.n_layers)) for i in range(0, model.n_layers, each)]
