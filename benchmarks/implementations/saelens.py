"""SAELens: TopKTrainingSAE through SAETrainer.step, every setting the default of LanguageModelSAERunnerConfig; with
``--autocast`` its autocast option besides."""

import sys

import torch
from implementations.worker import Rows, Setting, serve
from sae_lens import LanguageModelSAERunnerConfig, LoggingConfig, TopKTrainingSAE, TopKTrainingSAEConfig
from sae_lens.training.sae_trainer import SAETrainer
from torch import Tensor

AUTOCAST = "--autocast" in sys.argv[3:]


class SAELens:
    packages: tuple[str, ...] = ("sae-lens",)

    def __init__(self, setting: Setting, rows: Rows) -> None:
        torch.manual_seed(setting.seed)
        config = LanguageModelSAERunnerConfig(
            sae=TopKTrainingSAEConfig(d_in=rows.d, d_sae=setting.n_features, k=setting.k, device=setting.device),
            training_tokens=setting.steps * setting.batch,
            train_batch_size_tokens=setting.batch,
            autocast=AUTOCAST,
            device=setting.device,
            logger=LoggingConfig(log_to_wandb=False),
            checkpoint_path=None,
            verbose=False,
            **({} if setting.lr is None else {"lr": setting.lr}),
        )
        self.sae = TopKTrainingSAE(config.sae).to(setting.device)
        self.trainer = SAETrainer(config.to_sae_trainer_config(), self.sae, data_provider=iter(()))
        self.about = (
            f"Adam, lr {config.lr:g} ({config.lr_scheduler_name}), decoder rows start at length "
            f"{config.sae.decoder_init_norm}, normalize_activations={config.sae.normalize_activations!r}"
            f"{', autocast to bfloat16' if AUTOCAST else ''}"
        )

    def step(self, x: Tensor) -> None:
        self.trainer.maybe_reset_sparsity()
        self.trainer.step(x)
        self.trainer.n_training_steps += 1

    def reconstruct(self, x: Tensor) -> Tensor:
        return self.sae(x)


if __name__ == "__main__":
    serve(SAELens)
