"""The floor: the bfloat16 encoder product alone, into memory that is already there."""

import torch
from implementations.worker import Rows, Setting, serve
from torch import Tensor


class EncodeProduct:
    packages: tuple[str, ...] = ()
    about = "torch.mm(x, W.T, out=...) in bfloat16 and nothing else"

    def __init__(self, setting: Setting, rows: Rows) -> None:
        generator = torch.Generator().manual_seed(setting.seed)
        self.weight = torch.randn(setting.n_features, rows.d, generator=generator).bfloat16().to(setting.device)
        self.x = rows.train(0, setting.batch).bfloat16()  # always the same, so that no conversion is timed
        self.out = torch.empty(setting.batch, setting.n_features, dtype=torch.bfloat16, device=setting.device)

    def step(self, x: Tensor) -> None:
        torch.mm(self.x, self.weight.T, out=self.out)

    def reconstruct(self, x: Tensor) -> None:
        return None


if __name__ == "__main__":
    serve(EncodeProduct, peer=False)
