"""norms: what a norm module computes, as numbers: found by calling it, since some multiply by their weight, some by
1 + weight, some have none, and each names its parts in its own way."""

from copy import deepcopy
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

SMALL = 2.0**-10
"""Size of what is given to a norm to see what it adds under its root."""


@dataclass(frozen=True, eq=False)
class Norm:
    """``x`` less its mean where ``centred``, divided by ``scale(x)``, times ``gain``, plus ``bias``."""

    gain: Float[Tensor, " width"]
    bias: Float[Tensor, " width"]
    centred: Float[Tensor, ""]
    """1 where the mean is taken away, else 0."""
    eps: float

    @classmethod
    @torch.no_grad()
    def of(cls, module: nn.Module, width: int, device: torch.device) -> "Norm | None":
        """What a module computes of vectors of that width, float32; None if it is something else."""
        norm = deepcopy(module).float()
        try:
            gain, centred = gain_of(norm, width, device)
        except (RuntimeError, TypeError):
            return None
        x = torch.linspace(64, 128, width, device=device)
        x[1::2] *= -1
        bias = norm(torch.stack([x, -x])[None])[0].mean(0)
        unit = x - x.mean() * centred
        unit = unit / unit.pow(2).mean().sqrt()
        small = norm(SMALL * unit[None, None])[0, 0] - bias
        ratio = float((small * unit * gain).sum() / (unit * gain).pow(2).sum())
        eps = max(0.0, SMALL**2 * (ratio**-2 - 1)) if ratio else 0.0
        found = cls(gain, bias, centred, float(f"{eps:.3g}"))
        probe = torch.randn(1, 4, width, generator=torch.Generator().manual_seed(0)).to(device)
        made = found.divided(probe, found.scale(probe))
        return found if torch.allclose(made, norm(probe), rtol=1e-3, atol=1e-4) else None

    def scale(self, x: Float[Tensor, "*rows width"]) -> Float[Tensor, "*rows 1"]:
        """What it divides ``x`` by, float32."""
        return (self._less_mean(x).pow(2).mean(-1, keepdim=True) + self.eps).sqrt()

    def divided(self, x: Float[Tensor, "*rows width"], scale: Float[Tensor, "*rows 1"]) -> Float[Tensor, "*rows width"]:
        """What it would make of ``x`` if it divided by ``scale``, in the dtype of ``x``: linear in ``x``, but for the
        bias."""
        return (self._less_mean(x) / scale * self.gain + self.bias).to(x.dtype)

    def _less_mean(self, x: Tensor) -> Tensor:
        x = x.float()
        return x - x.mean(-1, keepdim=True) * self.centred


def is_norm(module: nn.Module) -> bool:
    """Whether a module is called a norm. By its name: an RMS norm without a gain is hard to tell from other functions
    by its values on a few tokens."""
    return "norm" in type(module).__name__.lower()


@torch.no_grad()
def gain_of(norm: nn.Module, width: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """What a norm multiplies each coordinate with, and 1 where it takes the mean away, else 0, float32."""
    norm = deepcopy(norm).float()
    x = torch.linspace(64, 128, width, device=device)
    x[1::2] *= -1
    ones = torch.ones_like(x)
    plus, minus, up, down = norm(torch.stack([x, -x, ones, -ones])[None])[0]
    odd = (plus - minus) / 2  # without the bias
    centred = ((up - down).abs().max() < 1e-3 * odd.abs().max()).float()
    x = x - x.mean() * centred
    return odd / (x / x.pow(2).mean().sqrt()), centred
