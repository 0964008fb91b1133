"""splicing: what the model's predictions lose where reconstructions stand in place of activations.

1. The model reads some held-out contexts once as they are; what a dictionary reads there gives its reconstruction.
2. For each variant the model goes on from the first site that is written, with the reconstruction written at every
   position that has a stored row; the others keep what the model computed. Everything before that site is shared.
3. Losses and KL divergences are taken from the logits of some positions at a time, of all variants together.

A crosscoder's reconstruction of an early site depends on later ones, so what it writes comes from the unchanged pass:
all sites are read there, then all are written at once. A cross-layer transcoder's does not: each of its layers reads
what the writes before it have made of the model, as in the replacement model of Ameisen et al. 2025 ("Circuit
Tracing"), so that errors add up as they would. Its baselines are spliced in the same way, with what is not yet known at
its mean.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Int64
from torch import Tensor

from physalis import metrics
from physalis.activations import Stored
from physalis.dictionaries import CrossLayer, Dictionary
from physalis.errors import BadInput
from physalis.evaluation.baselines import LinearMap
from physalis.evaluation.losses import compared, nll, one_for_all
from physalis.metrics import Splice, Sums
from physalis.models import Model, Write
from physalis.models.branching import Trunk
from physalis.models.hooks import depth
from physalis.runtime.progress import progress
from physalis.site import Site

TOLERANCE = 1e-5  # nats; more means that the splice itself changes the model
OF_ANOTHER_PRODUCT = 0.02  # nats, in 16 bit: the last bit of a logit is worth up to .1 of them
TOKENS_A_PASS = 1024
CHECKED = (2, 128)  # contexts and positions that the identity check reads
MEAN = "mean"
RESIDUAL = ("embed", "resid_pre", "resid_mid", "resid_post")

Rebuild = Callable[[Float[Tensor, "tokens d_in"]], Float[Tensor, "tokens d_out"]]
"""Rows that are read to a prediction of those that are written."""


@runtime_checkable
class Placed(Protocol):
    """Predicts what is written from where it stands, and from nothing that the model computed."""

    def at(self, places: Int64[np.ndarray, " rows"]) -> Float[Tensor, "rows d_out"]:
        """At these places, ``context_index * context + position``."""
        ...


class Unspliceable(Exception):
    """Says in a sentence why something cannot be put into a model."""


class _Place(NamedTuple):
    site: Site
    columns: slice
    """Its columns among those that are read, or written."""


class Splicer:
    """One model and one recording, into which reconstructions are spliced."""

    def __init__(self, model: Model, source: Stored) -> None:
        """Checks that writing the activations back unchanged gives the model's own loss to 1e-5 nats a token, and which
        short cuts this model allows. Raises BadInput if it does not; Unspliceable if several models were read."""
        reads, writes = source.parts
        if len({part.model_hash for part in (*reads, *writes)}) > 1:
            raise Unspliceable(
                f"It reads several models ({', '.join(dict.fromkeys(part.model for part in reads))}), and no one of "
                "them computes all that it reads: what is said of it is how well it rebuilds them."
            )
        self.model, self.source = model, source
        self.reads, self.writes = _places(reads), _places(writes or reads)
        self.frame = type(source.frame)(*(part.to(model.device) for part in source.frame))
        self.shared, self.alike = True, all(place.site.name in RESIDUAL for place in self.writes)
        self._check_identity()

    def measure(
        self, subjects: Mapping[str, Dictionary | LinearMap | Placed], *, tokens: int, seed: int
    ) -> tuple[dict[str, dict[str, Sums]], int]:
        """Both sums by document of every splice metric, of every subject, on ``tokens`` tokens of held-out contexts
        drawn at random, and under "mean" what the mean in its place adds; and how many predictions that was.

        Predictions of a document's first token do not count: what stands before it is another document's.
        """
        held, context = self.source.held_out, self.source.context
        order = torch.randperm(len(held.contexts), generator=torch.Generator().manual_seed(seed)).numpy()
        chosen = held.contexts[order[: max(1, tokens // context)]]
        keep = held.kept(chosen)
        in_turn = any(isinstance(each, CrossLayer) for each in subjects.values()) and self._in_order()
        if in_turn and any(isinstance(each, Placed) for each in subjects.values()):
            raise Unspliceable(
                "What a cross-layer transcoder reads depends on what it wrote before, not on the text alone."
            )
        sums = {key: {m.__name__: Sums() for m in metrics.SPLICE} for key in subjects}
        mean = Sums()
        each, n = max(1, TOKENS_A_PASS // context), 0
        with progress("splice", len(chosen) * context, "tokens") as advance:
            for i in range(0, len(chosen), each):
                ids = chosen[i : i + each]
                found, documents = self._losses(subjects, ids, keep[i : i + each], in_turn)
                for key, splice in found.items():
                    for metric in metrics.SPLICE:
                        sums[key][metric.__name__].add(metric(splice), documents)
                averaged = splice._replace(spliced=splice.averaged)
                mean.add(metrics.ce_increase(averaged), documents)
                n += len(documents)
                advance(len(ids) * context)
        return sums | {MEAN: {metrics.ce_increase.__name__: mean}}, n

    def _losses(
        self,
        subjects: Mapping[str, Dictionary | LinearMap | Placed],
        ids: Int64[np.ndarray, " n"],
        keep: Bool[Tensor, "n context"],
        in_turn: bool,
    ) -> tuple[dict[str, Splice], Int[np.ndarray, " predictions"]]:
        tokens, documents = (
            torch.from_numpy(each[ids].astype("int64")) for each in (self.source.tokens, self.source.documents)
        )
        use = documents[:, 1:] == documents[:, :-1]
        trunk = self._trunk(tokens, in_turn=in_turn)
        x = self._rows(trunk, self.reads, keep)
        states = [trunk.states]
        places = (ids[:, None] * self.source.context + np.arange(self.source.context))[keep.numpy()]
        for each in subjects.values():
            if isinstance(each, Placed):
                writes = self._known(each.at(places).to(x.device), keep)
            else:
                writes = self._in_turn(each, keep) if in_turn else self._known(_rebuild(each)(x), keep)
            states.append(trunk.branch(writes))
        clean, *spliced = compared(trunk, states, tokens, use)
        none = torch.zeros_like(self.frame.mean_out)
        zeroed, averaged = (self._replaced(trunk, value, keep, tokens, use) for value in (none, self.frame.mean_out))
        found = {
            key: Splice(clean.nll, each.nll, zeroed, averaged, each.kl)
            for key, each in zip(subjects, spliced, strict=True)
        }
        return found, documents[:, 1:][use].numpy()

    def _trunk(self, tokens: Int[Tensor, "n context"], *, in_turn: bool = False) -> Trunk:
        changed = [place.site for place in (*self.writes, *(self.reads if in_turn else ()))]
        read = {place.site for place in (*self.reads, *self.writes)}
        return Trunk(self.model, tokens, changed=changed, read=read, shared=self.shared)

    def _rows(self, trunk: Trunk, places: Sequence[_Place], keep: Bool[Tensor, "n context"]) -> Float[Tensor, "rows d"]:
        """What was computed at these places, side by side, at kept positions."""
        return torch.cat([trunk.got[place.site][keep.to(trunk.tokens.device)] for place in places], 1).float()

    def _known(self, y: Float[Tensor, "rows d_out"], keep: Bool[Tensor, "n context"]) -> dict[Site, Write]:
        """Writes of predictions that are there."""
        return {place.site: put(y[:, place.columns], keep) for place in self.writes}

    def _in_turn(self, subject: Dictionary | LinearMap, keep: Bool[Tensor, "n context"]) -> dict[Site, Write]:
        """Writes of predictions from what is read before each of them, in the same pass."""
        n, device = int(keep.sum()), self.model.device
        x, y = (mean.expand(n, -1).clone() for mean in (self.frame.mean_in, self.frame.mean_out))
        if isinstance(subject, CrossLayer):
            y = subject.b_dec.expand(n, -1).clone()

        def look(i: int, place: _Place) -> Write:
            def read(value: Tensor) -> Tensor:
                rows = value[keep.to(device)].float()
                if isinstance(subject, CrossLayer):
                    with torch.no_grad():
                        y[:, self.writes[i].columns.start :] += subject.adds(i, rows)
                else:
                    x[:, place.columns] = rows
                return value

            return read

        def predicted(place: _Place) -> Write:
            def write(value: Tensor) -> Tensor:
                found = y if isinstance(subject, CrossLayer) else _rebuild(subject)(x)
                return put(found[:, place.columns], keep)(value)

            return write

        return {place.site: look(i, place) for i, place in enumerate(self.reads)} | {
            place.site: predicted(place) for place in self.writes
        }

    def _in_order(self) -> bool:
        """Whether each site is written after the same layer's was read, and before the next is."""
        turns = [place.site for pair in zip(self.reads, self.writes, strict=False) for place in pair]
        depths = [depth(site) for site in turns]
        return len(self.reads) == len(self.writes) and all(a < b for a, b in zip(depths, depths[1:], strict=False))

    def _replaced(
        self,
        trunk: Trunk,
        value: Float[Tensor, " d_out"],
        keep: Bool[Tensor, "n context"],
        tokens: Int[Tensor, "n context"],
        use: Bool[Tensor, "n context_1"],
    ) -> Float[Tensor, " predictions"]:
        """Loss with the same vector at every kept position. Where that is the whole residual stream but for positions
        that are alike in all contexts (BOS), one context says what the model predicts in all of them."""
        writes = self._known(value.expand(int(keep.sum()), -1), keep)
        if not self.alike or not self._same_left(trunk, keep):
            return compared(trunk, [trunk.branch(writes)], tokens, use)[0].nll
        writes = self._known(value.expand(int(keep[:1].sum()), -1), keep[:1])
        return one_for_all(trunk, trunk.branch(writes, contexts=1)[0], tokens)[use]

    def _same_left(self, trunk: Trunk, keep: Bool[Tensor, "n context"]) -> bool:
        """Whether all contexts leave out the same positions, with the same activations there."""
        if not (keep == keep[:1]).all():
            return False
        left = (trunk.got[place.site][:, (~keep[0]).to(trunk.tokens.device)].float() for place in self.writes)
        return all(torch.allclose(each, each[:1].expand_as(each), rtol=1e-5, atol=1e-6) for each in left)

    def _check_identity(self) -> None:
        contexts = self.source.held_out.contexts[: CHECKED[0]]
        tokens = torch.from_numpy(self.source.tokens[contexts].astype("int64"))[:, : CHECKED[1]]
        keep = self.source.held_out.kept(contexts)[:, : CHECKED[1]]
        use = torch.ones_like(tokens[:, 1:], dtype=torch.bool)
        end = Site("logits")
        logits = self.model.run(tokens, read=[end])[end][:, :-1].float()
        own = nll(logits.flatten(0, 1), tokens[:, 1:].to(logits.device).flatten()).cpu()

        def gap() -> float:
            try:
                trunk = self._trunk(tokens)
                same = trunk.branch(self._known(self._rows(trunk, self.writes, keep), keep))
                both = compared(trunk, [trunk.states, same], tokens, use)
            except (RuntimeError, TypeError, AttributeError, IndexError, KeyError):
                if not self.shared:
                    raise
                return float("inf")  # a model whose blocks need more than what the one before returned
            plain, same = (each.nll for each in both)
            # The logits of both come from one product; the model's own come from another, whose last bit may differ.
            own_allows = TOLERANCE if self.model.dtype == torch.float32 else OF_ANOTHER_PRODUCT
            ways = float((own - plain).abs().mean()) * TOLERANCE / own_allows
            return max(float((plain - same).abs().mean()), ways)

        if gap() > TOLERANCE:
            self.shared = False
            if (found := gap()) > TOLERANCE:
                raise BadInput(
                    f"Writing {', '.join(str(place.site) for place in self.writes)} back unchanged moves the loss by "
                    f"{found:.2g} nats a token, more than {TOLERANCE:g}: the splice itself changes this model, so no "
                    "number from it could be trusted. Nothing was written. Choose another site, or load the model in "
                    "float32."
                )
        if self.alike:
            self.alike = False
            trunk, args = self._trunk(tokens), (self.frame.mean_out, keep, tokens, use)
            each = self._replaced(trunk, *args)
            self.alike = True
            same = self._same_left(trunk, keep)
            self.alike = same and float((each - self._replaced(trunk, *args)).abs().mean()) < TOLERANCE


def _places(parts: Sequence) -> list[_Place]:
    ends = np.cumsum([0, *(len(part.mean) for part in parts)]).tolist()
    return [_Place(part.site, slice(*ends[i : i + 2])) for i, part in enumerate(parts)]


def _rebuild(subject: Dictionary | LinearMap) -> Rebuild:
    def rebuild(x: Tensor) -> Tensor:
        with torch.no_grad():
            return subject.rebuild(x) if isinstance(subject, LinearMap) else subject.rebuild(x, subject.encode(x))

    return rebuild


def put(y: Float[Tensor, "rows d"], keep: Bool[Tensor, "n context"]) -> Write:
    """Puts rows at the kept positions, leaves the others alone."""

    def write(x: Float[Tensor, "n context d"]) -> Float[Tensor, "n context d"]:
        x[keep.to(x.device)] = y.to(x.device, x.dtype)
        return x

    return write
