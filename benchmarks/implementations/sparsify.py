"""sparsify: SparseCoder with the optimiser, learning rate rule and order of operations of its Trainer.fit.

Its Trainer reads activations out of a language model as it runs, so its step is put together here from its parts. What
fit does besides (masks, copies, logging) is left out, in its favour.
"""

import torch
from implementations.worker import Rows, Setting, serve
from schedulefree import ScheduleFreeWrapper
from sparsify.config import SparseCoderConfig, TrainConfig
from sparsify.sign_sgd import SignSGD
from sparsify.sparse_coder import SparseCoder
from torch import Tensor


class Sparsify:
    packages: tuple[str, ...] = ("eai-sparsify", "schedulefree")

    def __init__(self, setting: Setting, rows: Rows) -> None:
        torch.set_float32_matmul_precision("high")  # fit() begins so
        torch.manual_seed(setting.seed)
        self.config = TrainConfig(SparseCoderConfig(num_latents=setting.n_features, k=setting.k), log_to_wandb=False)
        assert self.config.optimizer == "signum"
        assert self.config.auxk_alpha == 0  # so nothing needs to know which latents are dead
        self.coder = SparseCoder(rows.d, self.config.sae, setting.device, torch.float32)
        lr = setting.lr or 5e-3 / (setting.n_features / 2**14) ** 0.5
        self.optimizer = ScheduleFreeWrapper(SignSGD(self.coder.parameters(), lr=lr), momentum=0.95)
        self.optimizer.train()
        self.idle = torch.zeros(setting.n_features, dtype=torch.long, device=setting.device)
        self.fired = torch.zeros(setting.n_features, dtype=torch.bool, device=setting.device)
        self.first = True
        self.about = (
            f"schedule-free signum, lr {lr:.2g}, decoder bias starts at the first batch's mean, rows as recorded"
        )

    def step(self, x: Tensor) -> None:
        if self.first:
            self.coder.b_dec.data = x.mean(0)
            self.first = False
        self.coder.set_decoder_norm_to_unit_norm()
        out = self.coder(x, y=x, total_variance=(x - x.mean(0)).pow(2).sum())
        self.fired[out.latent_indices.flatten()] = True
        out.fvu.backward()
        self.coder.remove_gradient_parallel_to_decoder_directions()
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.idle += len(x)
        self.idle[self.fired] = 0
        self.fired.zero_()

    def reconstruct(self, x: Tensor) -> Tensor:
        self.optimizer.eval()  # the averaged weights, which are what it saves
        found = self.coder(x).sae_out
        self.optimizer.train()
        return found


if __name__ == "__main__":
    serve(Sparsify)
