"""generate: a text that a model goes on with, token by token, with whatever is written into it at each.

Keys and values of what was read are kept (transformers' own cache), so that a token costs one position and not all.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from physalis.errors import BadInput
from physalis.models.model import Model, Write
from physalis.models.text.prompting import room
from physalis.site import Site

LOGITS = Site("logits")
LAST = slice(-1, None)
COLD = 1e-6
"""Logits differ by more than this times the noise, so that chance changes no choice."""


@dataclass(frozen=True)
class Sampler:
    """How the next token is chosen from its logits.

    Choice is by the largest of logit / temperature + Gumbel noise, which is sampling from the softmax. The noise
    depends on the seed and the place of the token and on nothing else: two texts sampled with the same seed, one of
    them edited, differ only where the edit changes a choice.
    """

    temperature: float = 1.0
    """0 takes the likeliest token, and so does any below ``COLD``."""
    top_p: float = 1.0
    """Only the likeliest tokens that have at least this much probability together."""
    seed: int = 0
    """Any whole number; those that differ by 2**64 are alike."""

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < float("inf"):
            raise BadInput(f"temperature is at least 0; received {self.temperature}.")
        if not 0 < self.top_p <= 1:
            raise BadInput(f"top_p lies above 0 and up to 1; received {self.top_p}.")

    def choose(self, logits: Float[Tensor, "contexts vocab"], place: int) -> Int[Tensor, " contexts"]:
        """The token at ``place``, counted from the first new one. Contexts share their noise."""
        if self.temperature < COLD:
            return logits.argmax(-1)
        scaled = logits.float() / self.temperature
        if self.top_p < 1:
            order = scaled.argsort(-1, descending=True)
            shares = scaled.gather(-1, order).softmax(-1)
            beyond = shares.cumsum(-1) - shares >= self.top_p
            beyond[..., 0] = False  # the first is always kept, also where so little is asked for that it rounds to none
            scaled = scaled.masked_fill(torch.zeros_like(beyond).scatter(-1, order, beyond), float("-inf"))
        draw = torch.Generator().manual_seed((self.seed * 1_000_003 + place) % (1 << 64))
        uniform = torch.rand(scaled.shape[-1], generator=draw, dtype=torch.float64).clamp_min(1e-300)
        return (scaled - (-uniform.log()).log().to(scaled)).argmax(-1)


BY_CHANCE = Sampler()


def unwritten(start: int) -> Mapping[Site, Write]:
    """What is written where nothing is edited."""
    return {}


def generate(
    model: Model,
    prompt: Int[Tensor, "contexts context"],
    n: int,
    *,
    writes: Callable[[int], Mapping[Site, Write]] = unwritten,
    sampler: Sampler = BY_CHANCE,
) -> Iterator[Int[Tensor, " contexts"]]:
    """The next ``n`` tokens of each prompt, one place at a time; none is an id that the tokenizer has no token for.

    ``writes`` gives what to write into a pass whose first position is at ``start``, as ``Model.run`` takes it; every
    position passes once, so a function of it must not look at others. Raises BadInput, at once, for an empty prompt and
    where prompt and ``n`` are longer than the model reads; and later where what is written leaves no predictions.
    """
    return _generate(model, prompt, room(model, prompt.shape[1], n, n), writes, sampler)


@torch.no_grad()
def _generate(
    model: Model, prompt: Tensor, n: int, writes: Callable[[int], Mapping[Site, Write]], sampler: Sampler
) -> Iterator[Int[Tensor, " contexts"]]:
    past = DynamicCache() if isinstance(model.hf, PreTrainedModel) else None
    text, start = prompt, 0
    for place in range(n):
        logits = model.run(text[:, start:], read=[LOGITS], write=writes(start), past=past, logits_at=LAST)[LOGITS][
            :, -1
        ]
        if not (logits < float("inf")).all():  # nor are those that are no numbers
            raise BadInput(
                f"The predictions of {model.name} are not numbers any more: what is written into it is too large. "
                "Choose a smaller strength."
            )
        chosen = sampler.choose(logits.masked_fill(~model.known_ids, float("-inf")), place).to(text.device)
        yield chosen
        if past is not None:
            start = text.shape[1]
        text = torch.cat([text, chosen[:, None]], 1)
