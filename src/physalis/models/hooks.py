"""hooks: one forward pass: what its hooks do where the tensors of a module's call go by."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Int
from torch import Tensor, nn

from physalis.errors import BadInput
from physalis.models.sites.norms import Norm
from physalis.runtime.cancellation import check_interrupted
from physalis.site import INNER, LAYERED, Site

Write = Callable[[Tensor], Tensor]
"""Takes the tensor at a site, "contexts context width", and returns its replacement, of the same shape."""


@runtime_checkable
class OfTokens(Protocol):
    """A Write that wants to know the tokens of a pass before what it writes of it."""

    def begin(self, tokens: Int[Tensor, "contexts context"]) -> None: ...
    def __call__(self, x: Tensor, /) -> Tensor: ...


IN_A_BLOCK = (
    "resid_pre", "attn_norm_scale", "q", "k", "v", "attn_pattern", "z", "attn_post_norm_scale", "attn_out",
    "resid_mid", "mlp_norm_scale", "mlp_in", "mlp_gate", "mlp_neurons", "mlp_post_norm_scale", "mlp_out",
    "resid_post",
)  # fmt: skip
ORDER = {name: i for i, name in enumerate(IN_A_BLOCK)}
"""The order in which a block reaches its sites."""
assert set(ORDER) == {*LAYERED, *INNER}


class Passed(Exception):
    """Raised in the hook of the last site that was asked for; ends the forward pass."""


class Pass:
    """One call of ``run``: what its hooks do. Each writes, then keeps, then ends the pass if it was the last."""

    def __init__(
        self, read: set[Site], write: Mapping[Site, Write], *, until: Iterable[Site], shape: Sequence[int] | None = None
    ) -> None:
        """The pass ends when all sites of ``until`` have gone by. ``shape`` is that of the tokens: for models that lay
        some tensors out as one row of tokens after another."""
        self.read = read
        self.shape = shape
        self.write = write
        self.left = set(until)
        self.got: dict[Site, Tensor] = {}

    def visit(self, site: Site, x: Tensor) -> Tensor:
        if site in self.write:
            x = _written(site, x, self.write[site])
        if site in self.read:
            # Some models add to a tensor in place after it passed here.
            self.got[site] = x if site.name == "logits" else x.clone()
        self.left.discard(site)
        if not self.left and site.name != "logits":
            raise Passed
        return x

    def entering(self, site: Site, _: nn.Module, args: tuple, kwargs: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
        key = stream_key(args, kwargs)
        if isinstance(key, int):
            return (*args[:key], self.shaped(site, args[key]), *args[key + 1 :]), kwargs
        assert key is not None, f"nothing enters {site}"
        return args, {**kwargs, key: self.shaped(site, kwargs[key])}

    def entering_mid(self, site: Site, _: nn.Module, args: tuple, kwargs: dict[str, Any]) -> None:
        # The block holds this very tensor as its residual too: replacing the norm's argument alone would miss that.
        key = stream_key(args, kwargs)
        x = args[key] if isinstance(key, int) else kwargs[key or ""]
        new = self.shaped(site, x)
        if new is not x:
            x.copy_(new)

    def leaving(self, site: Site, _: nn.Module, args: tuple, out: Any, scale: float = 1.0) -> Any:
        if isinstance(out, tuple):
            new = (self.shaped(site, out[0], scale), *out[1:])
            return type(out)(*new) if hasattr(out, "_fields") else new  # a named tuple keeps its names
        return self.shaped(site, out, scale)

    def shaped(self, site: Site, x: Tensor, scale: float = 1.0) -> Tensor:
        """``visit`` of a tensor that may hold its tokens in one row after another, and that the model multiplies by
        ``scale`` before it counts."""
        seen = x if self.shape is None else x.reshape(*self.shape, -1)
        if scale != 1.0:
            seen = seen * scale
        new = self.visit(site, seen)
        if new is seen:
            return x
        if scale != 1.0:  # what is not changed stays as it was, to the last bit
            new = settled(new / scale, x.reshape(new.shape), new == seen)
        return new.reshape(x.shape)

    def dividing(
        self, site: Site, norm: Norm, _: nn.Module, args: tuple, kwargs: dict[str, Any], out: Tensor
    ) -> Tensor | None:
        """Where a norm has divided: what it divided by, float32, is what is read and written."""
        key = stream_key(args, kwargs)
        x = args[key] if isinstance(key, int) else kwargs[key or ""]
        scale = norm.scale(x)
        seen = scale if self.shape is None else scale.reshape(*self.shape, 1)
        new = self.visit(site, seen)
        if new is seen:
            return None
        new = new.reshape(scale.shape)
        return settled(norm.divided(x, new), out, new == scale)


class _Settled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, through: Tensor, value: Tensor, same: Tensor) -> Tensor:
        return torch.where(same, value, through)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        return grads[0], None, None


def settled(through: Tensor, value: Tensor, same: Tensor) -> Tensor:
    """``through``, and its gradient everywhere, but where ``same`` the bits of ``value``: what the model itself makes
    of what was not changed."""
    return _Settled.apply(through, value, same)


def depth(site: Site) -> tuple[float, int]:
    """Where in a pass a site is reached: a number that grows. Places of a block that other models do not share stand at
    its end."""
    if site.layer is None:
        return (-1, 0) if site.name == "embed" else (float("inf"), site.name == "logits")
    return site.layer, ORDER.get(site.name, len(ORDER))


def _written(site: Site, x: Tensor, fn: Write) -> Tensor:
    new = fn(x.clone())  # its own copy: a function that works in place must not reach what was read elsewhere
    if not isinstance(new, Tensor) or new.shape != x.shape:
        got = tuple(new.shape) if isinstance(new, Tensor) else type(new).__name__
        raise BadInput(
            f"The function writing {site} must return a tensor of shape {tuple(x.shape)}; it returned {got}."
        )
    # A copy of its own again: some models go on by adding to it in place, or ask for it to lie in one piece.
    return new.to(x.device, x.dtype).clone(memory_format=torch.contiguous_format)


def stream_key(args: Sequence[Any], kwargs: Mapping[str, Any]) -> int | str | None:
    """The place of a call's hidden states: the first positional argument where it is a floating tensor, else the
    keyword ``hidden_states``, else the first argument that is one; None if there is none."""
    if args and _floats(args[0]):
        return 0
    if _floats(kwargs.get("hidden_states")):
        return "hidden_states"
    every = [*enumerate(args), *kwargs.items()]
    return next((key for key, value in every if _floats(value)), None)


def _floats(x: Any) -> bool:
    return isinstance(x, Tensor) and x.is_floating_point()


def has_module(block: nn.Module, path: str) -> bool:
    """Whether a block has a module at a dotted path: blocks of one model may differ."""
    at: nn.Module | None = block
    for name in path.split("."):
        at = None if at is None else at._modules.get(name)
    return at is not None


def interrupting(*_: Any) -> None:
    """The hook that lets a pass be ended between blocks."""
    check_interrupted()


def only(positions: slice, _: nn.Module, args: tuple) -> tuple:
    """What the unembedding is to read: the stream at some positions, "contexts context width"."""
    x, *others = args
    return x[:, positions], *others
