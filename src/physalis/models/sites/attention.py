"""attention: what attention compares, mixes and by which weights, where its kernel is called.

Most of transformers' attention modules hand ``query, key, value`` to a function that their config names. For the length
of a call a module gets a copy of its config that names one of ours: it lets ``q``, ``k`` and ``v`` be read and written
and calls the kernel that the config named. A kernel keeps no weights: those are made beside it, by transformers' own
``eager_attention_forward``, and where nothing is written there its output stays what it was, to the last bit.
"""

import inspect
from collections.abc import Callable, Iterable, Mapping
from copy import copy
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from physalis.models.hooks import Pass, settled
from physalis.site import Site

ATTENTION = ("q", "k", "v", "attn_pattern")
"""Sites that are read where the kernel is called."""

WITH_KEYS = ("k", "v", "attn_pattern")
"""Those that keys and values of earlier passes have a part in."""

WITH_PATTERNS = ("eager", "sdpa")
"""Kernels whose masks ``eager_attention_forward`` can be given; others leave sliding windows to the kernel."""


def shows_attention(module: nn.Module) -> bool:
    """Whether a module's queries, keys, values and weights can be read: it calls its kernel as transformers' do."""
    if hasattr(module, "attend"):
        return True
    code = getattr(_forward(module), "__code__", None)
    calls = {"ALL_ATTENTION_FUNCTIONS", "eager_attention_forward", "_attn_implementation"}
    if code is None or not calls <= set(code.co_names) or getattr(module, "reorder_and_upcast_attn", False):
        return False
    return getattr(getattr(module, "config", None), "_attn_implementation", None) in WITH_PATTERNS


class Tap:
    """What is put into one attention module for one pass. ``remove`` takes it out again."""

    def __init__(self, module: Any, passing: Pass, sites: Iterable[Site]) -> None:
        """``sites`` are those of this module's layer, of ``ATTENTION``."""
        self.passing, self.module = passing, module
        self.sites = {site.name: site for site in sites}
        if hasattr(module, "attend"):
            kernel = module.attend
            module.__dict__["attend"] = lambda q, k, v: self.attended(q, k, v, kernel, module.weights)
            return
        self.config, self.names = module.config, _forward(module).__globals__
        self.key = f"physalis-{id(self)}"
        interface = self.names["ALL_ATTENTION_FUNCTIONS"]
        kernel = interface.get_interface(self.config._attn_implementation, self.names["eager_attention_forward"])
        interface[self.key] = lambda _, *args, **kwargs: self.called(kernel, *args, **kwargs)
        module.config = copy(self.config)
        module.config._attn_implementation_internal = self.key

    def remove(self) -> None:
        if hasattr(self.module, "attend"):
            del self.module.__dict__["attend"]
            return
        self.module.config = self.config
        del self.names["ALL_ATTENTION_FUNCTIONS"][self.key]

    def called(
        self,
        kernel: Callable[..., Any],
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_mask: Tensor | None,
        **kwargs: Any,
    ) -> Any:
        """What stands for the kernel in transformers' modules: some name what they give it, so the names are theirs."""
        kept: list[Any] = []

        def output(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            out, *others = kernel(self.module, q, k, v, attention_mask, **kwargs)
            kept[:] = others
            return out.transpose(1, 2)

        def weights(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            eager = self.config._attn_implementation == "eager"
            added = attention_mask if eager else self.added(attention_mask, q, k, kwargs)
            return self.names["eager_attention_forward"](self.module, q, k, v, added, **kwargs)[1]

        mixed = self.attended(query, key, value, output, weights).transpose(1, 2)
        return mixed.contiguous(), *kept  # as kernels give it: some modules take a view

    def attended(
        self,
        q: Float[Tensor, "contexts heads query d_head"],
        k: Float[Tensor, "contexts key_heads key d_head"],
        v: Float[Tensor, "contexts key_heads key d_value"],
        kernel: Callable[[Tensor, Tensor, Tensor], Tensor],
        weights: Callable[[Tensor, Tensor, Tensor], Tensor],
    ) -> Float[Tensor, "contexts heads query d_value"]:
        """What attention mixes, with what was written at its sites."""
        q, k, v = (self.visited(name, x) for name, x in (("q", q), ("k", k), ("v", v)))
        site = self.sites.get("attn_pattern")
        if site is None:
            return kernel(q, k, v)
        pattern = weights(q, k, v)
        new = self.passing.visit(site, pattern)
        if new is pattern:
            return kernel(q, k, v)
        mixed = new @ v.repeat_interleave(new.shape[1] // v.shape[1], dim=1)
        return settled(mixed, kernel(q, k, v), (new == pattern).all(-1, keepdim=True))

    def added(self, mask: Tensor | None, q: Tensor, k: Tensor, kwargs: Mapping[str, Any]) -> Tensor | None:
        """What is to be added to scores, for the mask that torch's kernel was given: true where a key is seen, or none
        where the kernel itself hides later keys."""
        causal = kwargs.get("is_causal")
        causal = getattr(self.module, "is_causal", True) if causal is None else causal
        if mask is None and causal and q.shape[2] > 1:
            mask = torch.ones(q.shape[2], k.shape[2], dtype=torch.bool, device=q.device).tril()
        if mask is None or mask.dtype != torch.bool:
            return mask
        return torch.zeros_like(mask, dtype=q.dtype).masked_fill(~mask, torch.finfo(q.dtype).min)

    def visited(self, name: str, x: Float[Tensor, "contexts heads context d"]) -> Tensor:
        if (site := self.sites.get(name)) is None:
            return x
        rows = x.transpose(1, 2).flatten(2)
        new = self.passing.visit(site, rows)
        return x if new is rows else new.unflatten(-1, (x.shape[1], -1)).transpose(1, 2)


def _forward(module: nn.Module) -> Any:
    return inspect.unwrap(type(module).forward)
