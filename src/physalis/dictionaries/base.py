"""Dictionary, the type every architecture implements, and what passes between it and the training loop.

A dictionary is maths on tensors. It never sees a model or a store; the training loop owns time and tells it what it may
know in a ``Tick``. Centring and scale are not its business: ``fold`` builds the constants kept by the activations into
the weights once training is over, so that a stored dictionary reads and writes raw activations.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from math import isfinite
from numbers import Integral, Real
from typing import Any, ClassVar, NamedTuple, get_args, get_origin, get_type_hints

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from physalis.dictionaries.rows import Rows
from physalis.errors import BadInput
from physalis.types import Batch, Codes, Frame


class Tick(NamedTuple):
    """All that a loss may know about training."""

    step: int
    progress: float
    """From 0 to 1."""
    dead: Bool[Tensor, " features"]
    """Features that have not fired for the loop's ``dead_after`` tokens."""


class Loss(NamedTuple):
    """Named terms, already weighted: their sum is minimised. ``codes`` are those the terms were computed from."""

    terms: dict[str, Tensor]
    codes: Codes


@dataclass(frozen=True, kw_only=True)
class Shape:
    """What every architecture's config has."""

    d_in: int
    d_out: int
    n_features: int
    k: int
    """Features that fire on a token: at most, or on average, as the architecture says. Where a penalty decides, it is
    adjusted until this many do."""
    skip: bool = False
    """A linear path from input to output beside the features: a skip transcoder (arXiv 2501.18823)."""
    layer_norm: bool = False
    """Normalise each token before reading it and undo that after writing. Only for dictionaries converted from tools
    that do; here centring and scale are folded into the weights instead."""

    def __post_init__(self) -> None:
        for name, kind in get_type_hints(type(self)).items():
            _check_type(name, kind, getattr(self, name))
        for name in ("d_in", "d_out", "n_features", "k"):
            if getattr(self, name) < 1:
                raise BadInput(f"{name} must be at least 1; received {getattr(self, name)}.")
        if self.k >= self.n_features:
            raise BadInput(
                f"k = {self.k} must be smaller than the number of features, {self.n_features}: "
                "otherwise nothing is sparse. Lower --k or raise --features."
            )


_CALLED = {int: "a whole number", float: "a number", bool: "True or False"}


def _check_type(name: str, kind: Any, value: Any) -> None:
    """Raise BadInput unless the value of a config's field is of the kind that the field is declared as."""
    each = get_args(kind)[0] if get_origin(kind) is tuple else None
    if each is None:
        right, wanted = _is(value, kind), _CALLED[kind]
    else:
        right = isinstance(value, tuple) and all(_is(one, each) for one in value)
        wanted = f"a tuple, each {_CALLED[each]}"
    if not right:
        raise BadInput(f"{name} must be {wanted}; received {value!r}.")


def _is(value: Any, kind: type) -> bool:
    if isinstance(value, bool) or kind is bool:
        return isinstance(value, bool) and kind is bool
    return isinstance(value, Integral) if kind is int else isinstance(value, Real) and isfinite(value)


class Dictionary(nn.Module, ABC):
    """A sparse dictionary. Architectures are final: none is subclassed again."""

    config: Any
    """A frozen dataclass with at least the fields of Shape, saved beside the weights."""
    pace: ClassVar[float] = 1.0
    """How many times the usual learning rate suits it best."""

    def extra_repr(self) -> str:
        """What torch writes between the brackets of its ``repr``."""
        c = self.config
        beside = [name for name in ("skip", "layer_norm") if getattr(c, name)]
        return f"d_in={c.d_in}, d_out={c.d_out}, n_features={c.n_features}, k={c.k:g}" + "".join(
            f", {name}=True" for name in beside
        )

    @abstractmethod
    def start(self, sample: Batch, *, seed: int) -> None:
        """Choose initial weights from data: at least as many rows as there are features is best."""

    @abstractmethod
    def encode(self, x: Float[Tensor, "tokens d_in"]) -> Codes:
        """Codes of each row; a row's codes never depend on the other rows. Differentiable at the features that fire."""

    @abstractmethod
    def decode(self, codes: Codes) -> Float[Tensor, "tokens d_out"]:
        """What the features write, and the output bias."""

    def rebuild(self, x: Float[Tensor, "tokens d_in"], codes: Codes) -> Float[Tensor, "tokens d_out"]:
        """The dictionary's guess at y: what it decodes, and whatever reaches the output beside its features."""
        return self.decode(codes)

    def _apply(self, fn: Any, recurse: bool = True) -> "Dictionary":
        """Whatever moves parameters (``to``, ``cuda``, a module around this one) comes by here and knows nothing of the
        rounded copies that rows keep."""
        super()._apply(fn, recurse)
        for each in self.parameters():
            if isinstance(each, Rows):
                each.refresh()
        return self

    def gain(self, x: Float[Tensor, "tokens d_in"]) -> Float[Tensor, "tokens 1"]:
        """How much of each direction one unit of code adds to the output on each row: 1, but where rows are normalised
        before they are read and that is undone after."""
        return x.new_ones(len(x), 1, dtype=torch.float32)

    def check_rows(self, x: Tensor) -> None:
        """Raises BadInput unless ``x`` is [tokens, d_in]."""
        if x.ndim != 2 or x.shape[1] != self.config.d_in:
            raise BadInput(
                f"This dictionary reads rows of width {self.config.d_in}, [tokens, {self.config.d_in}]; received "
                f"{list(x.shape)}. Give activations of its own site, with other dimensions flattened: x.flatten(0, -2)."
            )

    @abstractmethod
    def reads(self, ids: Int[Tensor, " n"]) -> Float[Tensor, "n d_in"]:
        """Gradient of the features' pre-activations with respect to the input."""

    @abstractmethod
    def writes(self, ids: Int[Tensor, " n"]) -> Float[Tensor, "n d_out"]:
        """What one unit of each feature adds to the output, up to ``gain``."""

    @abstractmethod
    def loss(self, batch: Batch, tick: Tick) -> Loss:
        """The terms to minimise on a batch that is centred and scaled to mean square 1 an element."""

    @torch.no_grad()
    def replace(self, batch: Batch, tick: Tick, *, seed: int) -> Int[Tensor, " replaced"] | None:
        """Called before each step: features that were given new weights, whose optimiser moments must be forgotten."""
        return None

    def constrain(self) -> None:
        """Called after every optimiser step."""

    @torch.no_grad()
    def finish(self, sample: Batch) -> None:
        """Called once after the last step, before folding, with rows it was not trained on where there are some."""

    @abstractmethod
    def compute_in(self, dtype: torch.dtype) -> None:
        """Take the large products in ``dtype``; masters stay float32."""

    @abstractmethod
    def fold(self, frame: Frame) -> None:
        """Once trained inside ``frame``, read and write raw activations from now on, along directions of length 1."""
