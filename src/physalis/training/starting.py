"""starting: the weights that a training starts from: fresh ones, or those of a dictionary that it goes on with.

What is gone on with keeps its weights, and its clock: the steps and tokens of before count in what a loss may know of
time (a k that falls over the run has fallen already), and features that had not fired for long are known. What a
finished dictionary does not keep, Adam's moments, begins anew, and so does the learning rate: it rises again and falls.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Int
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from physalis import artifact, dictionaries
from physalis.artifact import Manifest
from physalis.dictionaries.base import Dictionary
from physalis.errors import BadInput
from physalis.types import Batch, Frame

LAST_FIRED = "last_fired.safetensors"


@dataclass(frozen=True, slots=True)
class Before:
    """What was trained already of a dictionary: nothing, or the one in a folder."""

    folder: Path | None = None
    about: Manifest | None = None
    steps: int = 0
    tokens: int = 0

    @classmethod
    def read(cls, folder: Path) -> "Before":
        """Raises BadInput if the folder holds no dictionary, or one that another tool trained."""
        about = artifact.read(folder, "dictionary")
        training = about.config.get("training")
        if training is None:
            raise BadInput(
                f"The dictionary in {folder} was trained by another tool, and how far is not known. Give one that "
                "`train` wrote; `finetune` goes on with any."
            )
        done = training.get("before", {"steps": 0})["steps"] + training["steps"]
        return cls(folder, about, done, about.facts["n_tokens"])

    def check(self, job: dict[str, Any], origin: dict[str, Any], frozen: str | None) -> dict[str, Any]:
        """The job of a run that goes on. Raises BadInput if it is of another dictionary, or reads what that one did
        not; or if a part is to be kept random, which it no longer is."""
        assert self.about is not None
        said, origin = self.about.config, json.loads(json.dumps(origin))
        if frozen is not None or said["training"]["frozen"] is not None:
            raise BadInput("A dictionary with a frozen part is a baseline, trained once. Go on with one without.")
        shape = json.loads(json.dumps(job["dictionary"]))
        if (job["architecture"], shape) != (said["architecture"], said["dictionary"]):
            raise BadInput(
                f"{self.folder} is {_spelt(said['architecture'], said['dictionary'])}; received "
                f"{_spelt(job['architecture'], shape)}. A training goes on with the same settings: give those."
            )
        for key in ("site", "writes", "model"):
            if said.get(key) != origin.get(key):
                raise BadInput(
                    f"The {key} of the dictionary in {self.folder} is {said.get(key)}, that of these activations "
                    f"{origin.get(key)}. Give activations of where it was trained."
                )
        for role in ("model", "tokenizer"):
            if self.about.inputs.get(role) != job["inputs"].get(role):
                raise BadInput(
                    f"The dictionary in {self.folder} was trained on another {role} than that of these activations, "
                    "though its name may be the same. Record with the one that it was trained on."
                )
        before = {"steps": self.steps, "tokens": self.tokens}
        inputs = {**job["inputs"], "dictionary": self.about.hash}
        return job | {"training": job["training"] | {"before": before}, "inputs": inputs}

    def go_on(self, dictionary: Dictionary, frame: Frame) -> None:
        """Give a dictionary the weights of the one in the folder, as they are inside ``frame``."""
        assert self.folder is not None
        dictionary.load_state_dict(dictionaries.load(self.folder).state_dict())
        with torch.no_grad():
            dictionary.unfold(frame)
            dictionary.recentre()

    def last_fired(self, dictionary: Dictionary) -> Int[Tensor, " features"]:
        """After how many tokens each feature last fired, on the dictionary's device; 0 for never. Where that was not
        kept all count as just having fired."""
        found = torch.full((dictionary.config.n_features,), self.tokens, dtype=torch.int64)
        if self.folder is not None and (path := self.folder / LAST_FIRED).exists():
            artifact.plain(path)
            try:
                found.copy_(load_file(path)["last_fired"])
            except (OSError, SafetensorError, KeyError, RuntimeError) as error:
                raise BadInput(f"{path} cannot be read ({error}). {artifact.AGAIN}") from error
        return found.to(next(dictionary.parameters()).device)


def _spelt(architecture: str, shape: dict[str, Any]) -> str:
    return f"{architecture} with " + ", ".join(f"{name} {value}" for name, value in shape.items() if value is not None)


def begin(dictionary: Dictionary, sample: Batch, *, frozen: Literal["dec", "enc"] | None, seed: int) -> None:
    """Give a dictionary the weights that training starts from."""
    if frozen is None:
        dictionary.start(sample, seed=seed)
    else:
        _linear(dictionary).start_frozen(sample, frozen, seed=seed)


def first_rows(sample: Batch, n_features: int, batch_size: int) -> Batch:
    """What a dictionary of that many features starts from, whatever the sizes of those it is trained beside: as many
    batches as it has features."""
    x, y = (part[: -(-n_features // batch_size) * batch_size] for part in sample)
    return Batch(x, x if sample.y is sample.x else y)


def _linear(dictionary: Dictionary) -> dictionaries.Linear:
    if not isinstance(dictionary, dictionaries.Linear):
        raise BadInput(f"{type(dictionary).__name__} has no frozen baseline: its parts are not one matrix each.")
    return dictionary
