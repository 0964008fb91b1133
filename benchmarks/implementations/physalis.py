"""physalis: the steps that ``training.train`` takes, with its own start, optimiser, schedule and dead-feature rule."""

from contextlib import ExitStack

import torch
from implementations.worker import Rows, Setting, serve
from torch import Tensor

from physalis.dictionaries import TopK, TopKConfig
from physalis.runtime.device import ranking_dtype, repeatable
from physalis.training import Training
from physalis.training.training import Run, Schedule, learning_rate
from physalis.types import Batch


class Physalis:
    packages: tuple[str, ...] = ("numba",)

    def __init__(self, setting: Setting, rows: Rows) -> None:
        self.mean, self.scale = rows.mean, rows.scale
        dictionary = TopK(TopKConfig(d_in=rows.d, d_out=rows.d, n_features=setting.n_features, k=setting.k))
        dtype = ranking_dtype(torch.device(setting.device))
        dictionary.to(setting.device)
        dictionary.compute_in(dtype)
        # train() starts each feature on a row of the first batches
        n = -(-setting.n_features // setting.batch) * setting.batch
        sample = self._centre(rows.train(0, min(n, rows.n_train)))
        dictionary.start(Batch(sample, sample), seed=setting.seed)
        # what train() chooses where nothing is given
        lr, warmup, decay = learning_rate(rows.d), min(100, setting.steps // 20), Training.decay
        self.schedule = Schedule(lr=lr, warmup=warmup, decay=decay, steps=setting.steps)
        self.dead_after = min(10_000_000, setting.steps * setting.batch // 20)
        self.run, self.at = Run(dictionary), 0
        self.stack = ExitStack()  # as train() does
        self.stack.enter_context(repeatable(torch.device(setting.device)))
        self.about = (
            f"Adam, lr {lr:g}, {warmup} warm-up steps, linear fall over the last {decay:.0%}; rows centred and scaled; "
            f"starts half on data; encoder product in {str(dtype).removeprefix('torch.')}"
        )

    def _centre(self, x: Tensor) -> Tensor:
        return (x - self.mean).mul_(self.scale)

    def step(self, x: Tensor) -> None:
        x = self._centre(x)
        self.run.descend(Batch(x, x), self.at, self.schedule, self.dead_after)
        self.at += 1

    def reconstruct(self, x: Tensor) -> Tensor:
        dictionary = self.run.dictionary
        return dictionary.decode(dictionary.encode(self._centre(x))) / self.scale + self.mean


if __name__ == "__main__":
    serve(Physalis, peer=False)
