"""Adam for dictionaries: reads outer-product gradients without writing them out, and keeps directions at length 1.

Kingma & Ba 2015 (arXiv 1412.6980). For a weight on the sphere the step is taken along the sphere: the part of the
gradient that would only change a row's length is dropped, and the row is rescaled to length 1 after the step.
"""

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor, nn

from physalis.dictionaries.kernels import cpu, rows
from physalis.dictionaries.kernels.bounds import within
from physalis.dictionaries.kernels.rows import Outer, Rows, at_rows, outer_sum


class Adam:
    """One optimiser over a dictionary's parameters. ``state`` is everything needed to go on exactly."""

    def __init__(self, parameters: Iterable[tuple[str, nn.Parameter]], *, b1: float = 0.9, b2: float = 0.999) -> None:
        self.parameters = dict(parameters)
        self.b1, self.b2, self.eps = b1, b2, 1e-8
        self.steps = 0
        self.m = {name: torch.zeros_like(p.data) for name, p in self.parameters.items()}
        self.v = {name: torch.zeros_like(p.data) for name, p in self.parameters.items()}

    def state(self) -> dict[str, Tensor]:
        """The moments, by name."""
        return {f"{part}.{name}": value for part in "mv" for name, value in getattr(self, part).items()}

    def load(self, state: dict[str, Tensor], steps: int) -> None:
        """Go on from ``state()`` after ``steps`` steps."""
        for part in "mv":
            for name, value in getattr(self, part).items():
                value.copy_(state[f"{part}.{name}"])
        self.steps = steps

    def forget(self, names: Iterable[str], ids: Tensor) -> None:
        """Forget the moments of these rows of the named parameters: their weights are new."""
        for name in names:
            self.m[name][ids] = 0
            self.v[name][ids] = 0

    def drop_gradients(self) -> None:
        """Forget gradients that no step was taken along."""
        for p in self.parameters.values():
            p.grad = None
            if isinstance(p, Rows):
                p.outers.clear()

    @torch.no_grad()
    def step(self, lr: float) -> None:
        """One step on every parameter that has a gradient, dense or in factors; clears the gradients."""
        self.steps += 1
        c1, c2 = 1 / (1 - self.b1**self.steps), 1 / (1 - self.b2**self.steps)
        for name, p in self.parameters.items():
            outers = p.outers if isinstance(p, Rows) else []
            if p.grad is None and not outers:
                continue
            if isinstance(p, Rows) and (p.device.type == "cpu" or (rows.gpu is not None and p.is_cuda)):
                self._fused(p, self.m[name], self.v[name], lr, c1, c2)
            else:
                self._dense(p, self.m[name], self.v[name], lr, c1, c2)
            p.grad = None
            outers.clear()

    def _dense(self, p: nn.Parameter, m: Tensor, v: Tensor, lr: float, c1: float, c2: float) -> None:
        g = torch.zeros_like(p) if p.grad is None else p.grad
        on_sphere = isinstance(p, Rows) and p.on_sphere
        if isinstance(p, Rows):
            for outer in p.outers:
                g = g + outer_sum(outer, len(p))
        if on_sphere:
            g = g - (g * p).sum(1, keepdim=True) * p
        m.lerp_(g, 1 - self.b1)
        v.mul_(self.b2).addcmul_(g, g, value=1 - self.b2)
        p.sub_(lr * (m * c1) / ((v * c2).sqrt() + self.eps))
        if on_sphere:
            p.div_(p.norm(dim=1, keepdim=True))
        if isinstance(p, Rows):
            p.refresh()

    def _fused(self, p: Rows, m: Tensor, v: Tensor, lr: float, c1: float, c2: float) -> None:
        # the two largest outer products, of all features and of dead ones, are summed row by row inside the kernel
        outers = sorted(p.outers, key=lambda outer: outer.ids.numel())
        none = Outer(*(torch.zeros((0, n), dtype=t, device=p.device) for n, t in _EMPTY))
        main = outers.pop() if outers else none
        second = outers.pop() if outers and not p.is_cuda else none
        more = None if p.grad is None else p.grad.clone()
        for outer in outers:
            more = outer_sum(outer, len(p)) + (0 if more is None else more)
        if p.is_cuda:
            vectors = main.vectors.detach().reshape(-1, p.shape[1])
            rows.gpu.adam_outer(
                main.ids, main.coefficients.detach(), main.at, vectors, more, p.data, m, v, p.half,
                on_sphere=p.on_sphere, lr=lr, b1=self.b1, b2=self.b2, c1=c1, c2=c2, eps=self.eps,
            )  # fmt: skip
            p.stepped()
            return
        half, scale = np.zeros((0, 0), np.int16), np.zeros(len(p), np.float32)
        if p.half is not None:
            half = (p.half if p.half.dtype == torch.int8 else p.half.view(torch.int16)).numpy()
        if p.scale is not None:
            scale = p.scale.numpy()
        extra = np.zeros((0, p.shape[1]), np.float32) if more is None else more.numpy()
        numbers = (np.float32(number) for number in (lr, self.b1, self.b2, c1, c2, self.eps))
        cpu.adam_outer(
            _by_feature(main, p), _by_feature(second, p), extra, p.detach().numpy(), m.numpy(), v.numpy(), half,
            scale, rows.most_int8(), p.on_sphere, *numbers,
        )  # fmt: skip
        p.stepped()


def _by_feature(outer: Outer, p: Rows) -> tuple[np.ndarray, ...]:
    """An outer product as the kernel reads it: its entries grouped by the row that they add to."""
    coefficients = outer.coefficients.detach().numpy()
    vectors = outer.vectors.detach().reshape(-1, p.shape[1]).numpy()
    return *cpu.transpose(within(outer.ids, len(p)), coefficients, len(p)), coefficients, at_rows(outer), vectors


_EMPTY = ((1, torch.int32), (1, torch.float32), (0, torch.float32))
