"""training: dictionaries made from activations: one loop, its optimiser and checkpoints, and what is built on it.

``train`` feeds any number of dictionaries from one read, ``finetune`` goes on inside the model, ``plan`` says
beforehand what it takes. Names are imported when they are first asked for: a run's history is read without torch.
"""

from typing import TYPE_CHECKING

from physalis.lazy import lazy

if TYPE_CHECKING:
    from physalis.training.finetuning import finetune
    from physalis.training.options import Finetuning, Training
    from physalis.training.planning import plan
    from physalis.training.training import train

_HOME = {
    "Finetuning": "options", "Training": "options", "finetune": "finetuning", "plan": "planning", "train": "training",
}  # fmt: skip

__all__ = ["Finetuning", "Training", "finetune", "plan", "train"]

__getattr__, __dir__ = lazy(__name__, _HOME)
