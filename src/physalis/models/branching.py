"""branching: forward passes over the same text that part at a site; what comes before it is computed once.

1. The first pass keeps what the last block before the site returned.
2. A later pass gives that back instead of computing the blocks up to there. All the rest is the model's own code.
3. A pass ends where the unembedding begins, for the logits of all positions at once would not fit into memory where a
   vocabulary is large. ``logits`` makes those of some rows, again by the model's own code: it may scale or cap them.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from physalis.models.hooks import Pass, Passed, Write, depth
from physalis.models.model import Model
from physalis.site import Site

LOGITS = Site("logits")


class Trunk:
    """What a model computes of some contexts before the first of the sites that branches will change."""

    states: Float[Tensor, "contexts context width"]
    """What the unembedding reads where nothing is changed."""
    got: dict[Site, Tensor]
    """The sites that were read, where nothing is changed, "contexts context width"."""

    def __init__(
        self,
        model: Model,
        tokens: Int[Tensor, "contexts context"],
        *,
        changed: Iterable[Site] = (),
        read: Iterable[Site] = (),
        shared: bool = True,
    ) -> None:
        """One forward pass. ``changed`` are all sites that branches will write, or look at once others are written; for
        each of them what comes before it is kept, so that a branch goes on from the first one it writes.

        Without ``shared`` each branch computes everything anew. Raises BadInput for a site the model does not have.
        """
        self.model, self.tokens = model, tokens.to(model.device)
        skips = {_blocks_before(site) for site in changed} if shared else set()
        kept: dict[int, Any] = {}
        ends = {*skips, len(model._blocks)} - {0}  # the last one's says what blocks return

        def keep(n: int, _: nn.Module, __: tuple, out: Any) -> None:
            kept[n] = _part(out, None, None)

        handles = [model._blocks[n - 1].register_forward_hook(partial(keep, n)) for n in ends]
        try:
            self.states, self.got = self._states(self.tokens, read=read)
        finally:
            for handle in handles:
                handle.remove()
        self.last = _part(kept[len(model._blocks)], 1, 1)
        self.before = {n: kept[n] for n in skips if n}
        """What the first n blocks make of the tokens, by n."""

    def branch(self, write: Mapping[Site, Write], *, contexts: int | None = None) -> Float[Tensor, "n context width"]:
        """What the unembedding reads with these sites written; of the first ``contexts`` only, if given."""
        n = len(self.tokens) if contexts is None else contexts
        first = min(write, key=depth, default=None)
        skipped = 0 if first is None else max((n for n in self.before if n <= _blocks_before(first)), default=0)
        if not skipped:
            return self._states(self.tokens[:n], write=write)[0]
        with _returning(self.model._blocks[:skipped], _part(self.before[skipped], n, None)):
            return self._states(self.tokens[:n], write=write)[0]

    @torch.no_grad()
    def logits(self, states: Float[Tensor, "n width"]) -> Float[Tensor, "n vocab"]:
        """What the model makes of some rows that the unembedding reads."""

        def instead(_: nn.Module, args: tuple) -> tuple:
            return (states[None], *args[1:])

        handle = self.model._unembed.register_forward_pre_hook(instead)
        try:
            with _returning(self.model._blocks, self.last):
                return self.model.hf(self.tokens[:1, :1], use_cache=False).logits[0]
        finally:
            handle.remove()

    @torch.no_grad()
    def _states(
        self, tokens: Int[Tensor, "n context"], *, read: Iterable[Site] = (), write: Mapping[Site, Write] = {}
    ) -> tuple[Float[Tensor, "n context width"], dict[Site, Tensor]]:
        model, found = self.model, []
        passing = Pass(set(read), write, until=[LOGITS], shape=tokens.shape)

        def end(_: nn.Module, args: tuple) -> None:
            found.append(args[0])
            raise Passed

        handles = [model._unembed.register_forward_pre_hook(end)]
        try:
            handles += model._placed.hooks(passing, {*passing.read, *write})
            model.hf(tokens, use_cache=False)
        except Passed:
            pass
        finally:
            for handle in handles:
                handle.remove()
        return found[0], passing.got


def _blocks_before(site: Site) -> int:
    """How many blocks are done when the site is reached."""
    return (site.layer or 0) + (site.name == "resid_post")


@contextmanager
def _returning(blocks: Iterable[nn.Module], out: Any) -> Iterator[None]:
    """Inside, these blocks return ``out`` and compute nothing; hooks on them still run."""
    before = [(block, block.__dict__.get("forward")) for block in blocks]
    try:
        for block, _ in before:
            block.__dict__["forward"] = lambda *_, **__: _part(out, None, None)
        yield
    finally:
        for block, own in before:
            if own is None:
                del block.__dict__["forward"]
            else:
                block.__dict__["forward"] = own


def _part(out: Any, contexts: int | None, positions: int | None) -> Any:
    """What a block returned, of the first contexts and positions; a copy, for later blocks may work in place."""
    if isinstance(out, tuple):
        return (_part(out[0], contexts, positions), *out[1:])
    return out[:contexts, :positions].clone()
