"""objectives: what fine-tuning minimises beside the FVU, and what tells one such function from another."""

import hashlib
import json
from collections.abc import Callable, Iterable
from functools import partial
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from physalis.errors import BadInput


class Outcome(NamedTuple):
    """What an objective sees of a batch."""

    clean: Callable[[], Float[Tensor, "contexts context vocab"]]
    """The model's own logits, computed when they are asked for."""
    spliced: Float[Tensor, "contexts context vocab"]
    """Those with the reconstruction spliced in; gradients flow from here."""
    tokens: Int[Tensor, "contexts context"]
    counts: Bool[Tensor, "contexts context_1"]
    """Whether position i predicts a token of its own document."""


Objective = Callable[[Outcome], Float[Tensor, ""]]
"""A number that is positive and to be made small. Its name goes into the manifest."""


def kl(outcome: Outcome) -> Float[Tensor, ""]:
    """KL divergence from the model's own predictions to those with the reconstruction, nats a token."""
    total = outcome.spliced.new_zeros((), dtype=torch.float32)
    for clean, spliced, counts in zip(outcome.clean(), outcome.spliced, outcome.counts, strict=True):
        log_p, log_q = (x[:-1][counts].float().log_softmax(-1) for x in (clean, spliced))
        total = total + torch.nn.functional.kl_div(log_q, log_p, log_target=True, reduction="sum")
    return total / outcome.counts.sum()


def ce(outcome: Outcome) -> Float[Tensor, ""]:
    """Cross-entropy of the next tokens with the reconstruction, nats a token. Needs no clean pass, but part of what it
    asks for is to predict better than the model does."""
    logits = outcome.spliced[:, :-1][outcome.counts].float()
    return torch.nn.functional.cross_entropy(logits, outcome.tokens[:, 1:][outcome.counts])


def name_of(objective: Objective) -> str:
    """How people call it."""
    return getattr(objective, "__name__", type(objective).__name__)


def identity(objective: Objective) -> str:
    """Equal only where two objectives compute the same: the name of one of ours, else a sha256 of the function's code
    and of the values that it uses besides its argument.

    Raises BadInput for one that uses what cannot be compared.
    """
    if objective in (kl, ce):
        return name_of(objective)
    return hashlib.sha256(json.dumps(_told(objective, name_of(objective), ())).encode()).hexdigest()


_LIBRARIES = ("builtins", "math", "functools", "numpy", "torch", "physalis")
"""What these define is told by its name."""


def _told(value: Any, name: str, inside: tuple[Any, ...]) -> Any:
    """What decides what ``value`` does, as JSON. ``name`` is the objective's; ``inside`` are the functions being told
    already."""

    def each(values: Iterable[Any]) -> list[Any]:
        return [_told(one, name, inside) for one in values]

    if value is None or value is Ellipsis or isinstance(value, bool | int | float | complex | str | bytes):
        return [type(value).__name__, repr(value)]
    if isinstance(value, tuple | list):
        return [type(value).__name__, *each(value)]
    if isinstance(value, set | frozenset):
        return ["set", *sorted(map(json.dumps, each(value)))]
    if isinstance(value, dict):
        return ["dict", *each(value.items())]
    if isinstance(value, Tensor | np.ndarray):
        array = value if isinstance(value, np.ndarray) else value.detach().float().cpu().numpy()
        return [str(value.dtype), list(array.shape), hashlib.sha256(array.tobytes()).hexdigest()]
    if isinstance(value, ModuleType):
        return ["module", value.__name__]
    module = (getattr(value, "__module__", None) or "builtins").split(".")[0]
    if module in _LIBRARIES and isinstance(value, type | FunctionType | BuiltinFunctionType):
        return [module, value.__qualname__]
    if isinstance(value, CodeType):
        return [value.co_code.hex(), each(value.co_consts), list(value.co_names), list(value.co_varnames)]
    if isinstance(value, FunctionType):
        return _function(value, name, inside)
    if isinstance(value, MethodType):
        return each((value.__func__, value.__self__))
    if isinstance(value, partial):
        return each((value.func, value.args, value.keywords))
    if callable(value) and hasattr(value, "__dict__"):
        methods = {n: f for n, f in vars(type(value)).items() if isinstance(f, FunctionType)}
        return [type(value).__qualname__, *each((methods, vars(value)))]
    raise BadInput(
        f"The objective {name!r} uses a {type(value).__name__}, of which nobody can say whether it is the same another "
        "time. Let it use numbers, strings, tensors and functions only."
    )


def _function(f: FunctionType, name: str, inside: tuple[Any, ...]) -> Any:
    if f in inside:
        return "itself"
    used = {each: f.__globals__[each] for each in sorted(_names(f.__code__)) if each in f.__globals__}
    cells = [cell.cell_contents for cell in f.__closure__ or ()]
    return _told((f.__code__, f.__defaults__, f.__kwdefaults__, cells, used), name, (*inside, f))


def _names(code: CodeType) -> set[str]:
    """Global names that a function may look up, those of functions inside it too."""
    return set(code.co_names).union(*(_names(each) for each in code.co_consts if isinstance(each, CodeType)))
