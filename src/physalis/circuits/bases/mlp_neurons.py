"""mlp_neurons: Neurons, a model's own MLP neurons as a graph's nodes: nothing is trained, and nothing is left as error.

What a neuron reads is taken by two rules of RelP (Jafari et al. 2025, arXiv 2508.21258): the nonlinearity counts as a
constant times its input, and each factor of a gate has half of their product. So its value is a sum over what was
written before it (Arora et al. 2026, arXiv 2601.22594, trace circuits of neurons so). A graph of features that were
trained should beat this one.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from physalis.circuits.bases.place import Features, Laid, Place
from physalis.models import Model
from physalis.patching.linearising import SMALL, Mlp, mlps
from physalis.site import Site


class Neurons:
    """The basis that every model has."""

    def __repr__(self) -> str:
        return "Neurons()"


class NeuronPlace(Place):
    """Use ``neuron_places``. All neurons are there, those at 0 as well."""

    def __init__(
        self, model: Model, mlp: Mlp, x: Float[Tensor, "context d_in"], neurons: Float[Tensor, "context neurons"]
    ) -> None:
        self.model, self.mlp, self.layer, self.least = model, mlp, mlp.layer, -torch.inf
        self.reads = Site("mlp_in", mlp.layer)
        self.watches = self.writes = Site("mlp_neurons", mlp.layer)
        (n_tokens, width), device = neurons.shape, neurons.device
        self.width, self.error = width, torch.zeros_like(neurons)
        with torch.no_grad():
            z, other = _read(mlp, x.to(model.dtype))
            own, beside = _read(mlp, torch.zeros_like(x[:1], dtype=model.dtype))
            some = torch.where(z == 0, SMALL, z)
            ratio = mlp.act.forward(some.to(model.dtype)).float() / some
        # By how much the neuron grows per unit of what its nonlinearity reads, and of what that is multiplied with.
        self.slopes = (ratio, None) if other is None else (ratio * other / 2, ratio * z / 2)
        own = self.slopes[0] * own
        if self.slopes[1] is not None and beside is not None:
            own = own + self.slopes[1] * beside
        positions = torch.arange(n_tokens, device=device).repeat_interleave(width)
        ids = torch.arange(width, device=device).repeat(n_tokens)
        self.features = Features(positions, ids, neurons.flatten(), own.flatten())
        read = mlp.down.get_parameter("weight").detach().float()
        self._norms = read.norm(dim=0 if isinstance(mlp.down, nn.Linear) else 1)

    @torch.enable_grad()
    def reads_of(self, which: Int64[Tensor, " m"]) -> Float[Tensor, "m d_in"]:
        at, ids = self.features.positions[which], self.features.ids[which]
        x = torch.zeros(1, self.model.width(self.reads), device=at.device, dtype=self.model.dtype, requires_grad=True)
        reads: Tensor | float = 0.0
        for slope, part in zip(self.slopes, _read(self.mlp, x), strict=True):
            if slope is not None and part is not None:
                chosen = nn.functional.one_hot(ids, self.width).to(part.dtype)[:, None]
                (rows,) = torch.autograd.grad(part, x, chosen, is_grads_batched=True, retain_graph=True)
                reads = reads + slope[at, ids, None] * rows[:, 0].float()
        assert isinstance(reads, Tensor)
        return reads

    def writes_of(self, which: Int64[Tensor, " m"]) -> dict[Site, Float[Tensor, "m neurons"]]:
        return {self.writes: nn.functional.one_hot(self.features.ids[which], self.width).float()}

    def wrote(self) -> dict[Site, Float[Tensor, "context neurons"]]:
        return {self.writes: self.features.codes.view(-1, self.width)}

    def edges(self, slopes: Mapping[Site, Float[Tensor, "n context neurons"]]) -> Float[Tensor, "n features"]:
        return slopes[self.writes].flatten(1) * self.features.codes

    def sizes(self) -> Float[Tensor, " features"]:
        return self.features.codes.abs() * self._norms[self.features.ids]

    def beside(self, x: Float[Tensor, "contexts context d_in"]) -> float:
        return 0.0

    def watched(
        self, x: Float[Tensor, "contexts context neurons"], which: Int64[Tensor, " m"]
    ) -> Float[Tensor, "contexts m"]:
        return x[:, self.features.positions[which], self.features.ids[which]].float()

    def laid(self, columns: Int64[Tensor, " features"]) -> Laid:
        return _Own(self.writes, columns.view(-1, self.width))


class _Own(Laid):
    """The model's own neurons, as they are computed, times masks."""

    def __init__(self, site: Site, columns: Int64[Tensor, "context neurons"]) -> None:
        self.site, self.columns = site, columns

    def codes(
        self, x: Float[Tensor, "variants context neurons"], masks: Float[Tensor, "variants _"]
    ) -> Float[Tensor, "variants context neurons"]:
        return x * masks[:, self.columns]

    def wrote(self, codes: Float[Tensor, "variants context neurons"], site: Site) -> Tensor | float:
        return codes if site == self.site else 0.0


@torch.no_grad()
def neuron_places(model: Model, tokens: Int64[Tensor, "1 context"]) -> list[NeuronPlace]:
    """A model's neurons on a prompt. Raises BadInput for a model with an MLP whose nonlinearity is no module of its
    own, or that has several (experts)."""
    parts = mlps(model)
    names = ("mlp_in", "mlp_neurons")
    got = model.run(tokens, read=[Site(name, mlp.layer) for mlp in parts for name in names])
    return [NeuronPlace(model, mlp, *(got[Site(name, mlp.layer)][0].float() for name in names)) for mlp in parts]


def _read(
    mlp: Mlp, x: Float[Tensor, "rows d_in"]
) -> tuple[Float[Tensor, "rows neurons"], Float[Tensor, "rows neurons"] | None]:
    """What the nonlinearity reads where the MLP reads ``x``, and what it is multiplied with: both linear in it."""
    with _caught(mlp) as caught:
        mlp.module(x[None])
    before, beside = (each.reshape(len(x), -1).float() for each in caught)
    return before, beside if mlp.gated else None


@contextmanager
def _caught(mlp: Mlp) -> Iterator[list[Tensor]]:
    """What the nonlinearity reads, then what the last projection reads where the nonlinearity gives 1."""
    caught: list[Tensor] = []

    def act(_: nn.Module, args: tuple, out: Tensor) -> Tensor:
        caught.append(args[0])
        return torch.ones_like(out)

    def down(_: nn.Module, args: tuple) -> None:
        caught.append(args[0])

    handles = [mlp.act.register_forward_hook(act), mlp.down.register_forward_pre_hook(down)]
    try:
        yield caught
    finally:
        for handle in handles:
            handle.remove()
