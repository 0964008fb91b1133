"""linearising: a model whose MLPs count as linear in what they read, for gradients alone: two rules of RelP.

1. Identity rule: a nonlinearity's output is its input times a constant, ``act(z) / z``.
2. Half rule: of the product that a gated MLP makes, each factor has half.
With norms' scales and attention's patterns held (``Model.freeze``), all of the model is then linear in its stream, and
every gradient says what a direction is worth to the end, none of it lost where a nonlinearity is flat (Jafari et al.
2025, RelP, arXiv 2508.21258; layer-wise relevance propagation). No value of the forward pass changes, not by a bit.

Where an MLP's nonlinearity is and what reads its neurons is found by looking at one token's pass: the nonlinearity is
the module that works on each number alone and adds nothing up, the reader is the last projection after it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor, nn

from physalis.errors import BadInput
from physalis.models import Frozen, Model
from physalis.models.hooks import settled
from physalis.models.sites.places import module_of, path_of
from physalis.site import Site

SMALL = 1e-4
"""What stands for 0 where a nonlinearity is divided by its input."""


class Mlp(NamedTuple):
    """The parts of one layer's MLP."""

    layer: int
    module: nn.Module
    """The whole of it."""
    act: nn.Module
    """Its nonlinearity."""
    down: nn.Module
    """The projection that reads its neurons."""
    gated: bool
    """Whether these are the nonlinearity's output times something."""


@contextmanager
def linear_mlps(model: Model) -> Iterator[None]:
    """Inside, gradients go through MLPs by the identity and half rules. Raises BadInput for a model with an MLP whose
    nonlinearity is no module of its own, or that has several (experts)."""
    handles = []
    try:
        parts = mlps(model)
        for act in dict.fromkeys(mlp.act for mlp in parts):
            handles.append(act.register_forward_hook(_identity))
        for down in dict.fromkeys(mlp.down for mlp in parts if mlp.gated):
            handles.append(down.register_forward_pre_hook(_half))
        yield
    finally:
        for handle in handles:
            handle.remove()


def _identity(act: nn.Module, args: tuple, out: Tensor) -> Tensor:
    z = args[0]
    with torch.no_grad():
        some = torch.where(z == 0, SMALL, z)
        ratio = act.forward(some) / some  # not act(some): hooks are for the model's own call
    return settled(z * ratio, out, torch.ones_like(out, dtype=torch.bool))


def _half(_: nn.Module, args: tuple) -> tuple:
    x = args[0]
    return settled(x / 2, x, torch.ones_like(x, dtype=torch.bool)), *args[1:]


def held(model: Model, tokens: Int[Tensor, "contexts context"]) -> Frozen:
    """Norms' scales and attention's patterns of a pass, to be held: the other two rules. Raises BadInput for a model
    that does not show its patterns."""
    has = {each.site for each in model.sites()}
    blind = [site for site in has if site.name == "z" and Site("attn_pattern", site.layer) not in has]
    if blind:
        raise BadInput(
            f"{model.name} shows no attention pattern at L{blind[0].layer}, and RelP holds patterns constant. Use "
            "attribute_by_gradient or attribute_by_integrated_gradients, which need none."
        )
    return model.freeze(tokens)


@torch.no_grad()
def mlps(model: Model) -> list[Mlp]:
    """The parts of every layer's MLP, found in a pass of one token. Raises BadInput as ``linear_mlps`` does."""
    blocks = list(module_of(model.hf, model.family.blocks, model.family).children())
    wholes: dict[int, nn.Module] = {}
    calls: dict[int, list[_Call]] = {}
    handles = []
    try:
        for layer, block in enumerate(blocks):
            path = path_of(model.family, block, "mlp_in")
            if path is None:
                continue
            wholes[layer], calls[layer] = block.get_submodule(path), []
            for part in wholes[layer].modules():
                if not list(part.children()):
                    handles.append(part.register_forward_hook(_Listener(calls[layer])))
        if calls:
            token = torch.zeros(1, 1, dtype=torch.long, device=model.device)
            model.run(token, read=[Site("resid_post", model.n_layers - 1)])
    finally:
        for handle in handles:
            handle.remove()
    return [_found(model, layer, wholes[layer], each) for layer, each in calls.items()]


class _Call(NamedTuple):
    module: nn.Module
    given: Tensor
    out: Tensor


class _Listener:
    def __init__(self, calls: list[_Call]) -> None:
        self.calls = calls

    def __call__(self, module: nn.Module, args: tuple, out: Any) -> None:
        if args and isinstance(args[0], Tensor) and isinstance(out, Tensor):
            self.calls.append(_Call(module, args[0].clone(), out.clone()))


def _found(model: Model, layer: int, whole: nn.Module, calls: list[_Call]) -> Mlp:
    acts = [i for i, call in enumerate(calls) if _is_nonlinearity(call)]
    if len(acts) != 1:
        raise BadInput(
            f"The MLP of layer {layer} of {model.name} has {len(acts)} modules that are a nonlinearity, and the rules "
            "of RelP are for one: what is computed in a function, or by experts, cannot be held. Use "
            "attribute_by_gradient or attribute_by_integrated_gradients, which need none."
        )
    act = calls[acts[0]]
    after = [call for call in calls[acts[0] + 1 :] if getattr(call.module, "weight", None) is not None]
    down = next((call for call in reversed(after) if call.given.shape[-1] == act.out.shape[-1]), None)
    if down is None:
        raise BadInput(
            f"Nothing in the MLP of layer {layer} of {model.name} reads {act.out.shape[-1]} neurons after its "
            "nonlinearity, so the rules of RelP have no place there. Use attribute_by_gradient or "
            "attribute_by_integrated_gradients."
        )
    gated = not torch.equal(down.given.reshape(-1), act.out.reshape(-1))
    return Mlp(layer, whole, act.module, down.module, gated)


def _is_nonlinearity(call: _Call) -> bool:
    """Whether a module works on each number alone, leaves 0 where it is and does not only add up or scale."""
    if call.given.shape != call.out.shape:
        return False
    width = call.given.shape[-1]
    x = torch.linspace(-2, 2, 4 * width, device=call.given.device)  # in 16 bit sums would not be exact
    x = x.view(1, 4, width)
    try:
        made, turned, none = (call.module.forward(each) for each in (x, x.roll(1), torch.zeros_like(x)))
        alone = call.module.forward(torch.where(x > 0, x, 0))
        doubled = call.module.forward(x) + call.module.forward(1 - x)
        ones = call.module.forward(torch.ones_like(x))
    except (RuntimeError, TypeError):
        return False
    same = torch.allclose(turned, made.roll(1), atol=1e-5) and torch.allclose(
        torch.where(x > 0, alone - made, 0), torch.zeros_like(x), atol=1e-5
    )
    return same and bool(none.abs().max() < 1e-6) and not torch.allclose(doubled, ones, atol=1e-3)
