"""The floor: the encoder product alone, into memory that is already there, in the dtype that is fastest here."""

import time
from collections.abc import Callable

import torch
from implementations.worker import Rows, Setting, serve
from torch import Tensor


class EncodeProduct:
    packages: tuple[str, ...] = ()

    def __init__(self, setting: Setting, rows: Rows) -> None:
        generator = torch.Generator().manual_seed(setting.seed)
        weight = torch.randn(setting.n_features, rows.d, generator=generator).to(setting.device)
        x = rows.train(0, setting.batch)  # always the same, so that no conversion is timed
        ways = _products(x, weight)
        found = {name: _seconds(product) for name, product in ways.items()}
        fastest = min(found, key=lambda name: found[name])
        self.product = ways[fastest]
        times = ", ".join(f"{name} {1000 * seconds:.0f} ms" for name, seconds in found.items())
        self.about = f"x @ W.T in {fastest} and nothing else (once each: {times})"

    def step(self, x: Tensor) -> None:
        self.product()

    def reconstruct(self, x: Tensor) -> None:
        return None


def _products(x: Tensor, weight: Tensor) -> dict[str, Callable[[], object]]:
    """The product in each dtype, by its name."""
    shape = len(x), len(weight)
    ways: dict[str, Callable[[], object]] = {}
    for dtype in (torch.float32, torch.bfloat16):
        a, b, out = x.to(dtype), weight.to(dtype).T, torch.empty(shape, dtype=dtype, device=x.device)
        ways[str(dtype).removeprefix("torch.")] = lambda a=a, b=b, out=out: torch.mm(a, b, out=out)
    if x.is_cuda:
        return ways
    a, b = ((part * (127 / part.abs().amax(1, keepdim=True))).to(torch.int8) for part in (x, weight))
    whole = torch.empty(shape, dtype=torch.int32)
    return ways | {"int8": lambda: torch._int_mm(a, b.T, out=whole)}


def _seconds(product: Callable[[], object]) -> float:
    taken = []
    for _ in range(4):
        started = time.perf_counter()
        product()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        taken.append(time.perf_counter() - started)
    return min(taken[1:])


if __name__ == "__main__":
    serve(EncodeProduct, peer=False)
