"""dictionary_learning: TopKTrainer.update on activations normalised as its trainSAE normalises them.

Its default of 1,000 warm-up steps is longer than the run (it refuses that), so warm-up and decay are those of its
authors' demo: 10 steps, and a fall to 0 over the last fifth.
"""

from collections.abc import Iterator

from dictionary_learning.trainers.top_k import TopKTrainer
from dictionary_learning.training import get_norm_factor
from implementations.worker import Rows, Setting, serve
from torch import Tensor

WARMUP, DECAY_START = 10, 0.8


class DictionaryLearning:
    packages: tuple[str, ...] = ("dictionary-learning",)

    def __init__(self, setting: Setting, rows: Rows) -> None:
        decay = int(DECAY_START * setting.steps)
        schedule = {"warmup_steps": WARMUP, "decay_start": decay} if decay > WARMUP else {"warmup_steps": 0}
        self.trainer = TopKTrainer(
            steps=setting.steps, activation_dim=rows.d, dict_size=setting.n_features, k=setting.k, layer=9,
            lm_name="smollm2", lr=setting.lr, seed=setting.seed, device=setting.device, **schedule,
        )  # fmt: skip
        self.norm = get_norm_factor(_batches(rows, setting.batch), steps=rows.n_train // setting.batch)
        self.at = 0
        self.about = (
            f"Adam, lr {self.trainer.lr:.2g}, {schedule['warmup_steps']} warm-up steps, linear fall over the last "
            f"{1 - DECAY_START:.0%}; decoder bias starts at the first batch's geometric median; rows scaled to mean "
            "squared norm 1"
        )

    def step(self, x: Tensor) -> None:
        self.trainer.update(self.at, x / self.norm)
        self.at += 1

    def reconstruct(self, x: Tensor) -> Tensor:
        return self.trainer.ae(x / self.norm) * self.norm


def _batches(rows: Rows, batch: int) -> Iterator[Tensor]:
    """The batches that trainSAE estimates the norm from: at most 100."""
    for i in range(min(100, rows.n_train // batch)):
        yield rows.train(i * batch, batch)


if __name__ == "__main__":
    serve(DictionaryLearning)
