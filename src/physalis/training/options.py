"""options: what decides how a training or a fine-tuning comes out, each as one record: what ``train`` and ``finetune``
take, and what their jobs and manifests say."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypedDict

from physalis.errors import BadInput


@dataclass(frozen=True, kw_only=True)
class Training:
    """How dictionaries are trained; ``train`` says what each field does. Raises BadInput for what is no training."""

    epochs: int = 3
    batch_size: int = 2048
    lr: float | None = None
    warmup: int | None = None
    decay: float = 0.5
    dead_after: int | None = None
    frozen: Literal["dec", "enc"] | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if not (self.lr is None or 0 < self.lr < float("inf")):
            raise BadInput(f"A learning rate is a finite number above 0; received lr={self.lr}.")
        least = {"batch_size": 1, "epochs": 1, "warmup": 0, "dead_after": 0, "seed": 0}
        for name, low in least.items():
            if (value := getattr(self, name)) is not None and value < low:
                raise BadInput(f"{name} is at least {low}; received {value}.")
        if not 0 <= self.decay <= 1:
            raise BadInput(f"decay is a share of the run, from 0 to 1; received {self.decay}.")

    def said(self, steps: int) -> dict[str, Any]:
        """As a job and a manifest say it of a training of so many steps."""
        return stored(asdict(self)) | {"steps": steps}


class TrainingOptions(TypedDict, total=False):
    """The fields of ``Training`` as keywords, which change those of the record that is given."""

    epochs: int
    batch_size: int
    lr: float | None
    warmup: int | None
    decay: float
    dead_after: int | None
    frozen: Literal["dec", "enc"] | None
    seed: int


def stored(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options of a training by the names under which manifests hold them. There the seed of the batches is ``order``,
    for each dictionary has a seed of its own."""
    return {"order" if name == "seed" else name: value for name, value in options.items()}


@dataclass(frozen=True, kw_only=True)
class Finetuning:
    """How a dictionary is trained further; ``finetune`` says what each field does. Raises BadInput for what cannot
    be."""

    fvu_weight: float = 1.0
    tokens: int = 500_000
    batch: int = 8
    lr: float = 1e-3
    seed: int = 0

    def __post_init__(self) -> None:
        if self.batch < 1 or not 0 < self.lr < float("inf") or not 0 <= self.fvu_weight < float("inf"):
            raise BadInput(
                "A batch is at least 1 context, a learning rate above 0 and the weight of the FVU at least 0; received "
                f"batch={self.batch}, lr={self.lr} and fvu_weight={self.fvu_weight}."
            )


class FinetuningOptions(TypedDict, total=False):
    """The fields of ``Finetuning`` as keywords, which change those of the record that is given."""

    fvu_weight: float
    tokens: int
    batch: int
    lr: float
    seed: int
