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

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from physalis.dictionaries.flattening import flat_codes, flat_rows, tensor_of, unflat
from physalis.dictionaries.kernels.rows import Rows
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

    def forward(self, x: Float[Tensor, "... d_in"] | Float[np.ndarray, "... d_in"]) -> Float[Tensor, "... d_out"]:
        """The dictionary's guess at what it predicts (``x`` itself, for an autoencoder) as ``evaluate`` judges it, skip
        path and layer norm included; float32. Raises BadInput as ``encode``."""
        x = tensor_of(x, self._like)
        self.check_rows(x)
        rows = flat_rows(x)
        return unflat(self.rebuild_rows(rows, self.encode_rows(rows)), x.shape[:-1])

    def encode(self, x: Float[Tensor, "... d_in"] | Float[np.ndarray, "... d_in"]) -> Codes:
        """Codes of each row; a row's codes never depend on the other rows. Differentiable at the features that fire.
        A numpy array is read as the tensor of its numbers. Raises BadInput for rows of another width."""
        x = tensor_of(x, self._like)
        self.check_rows(x)
        codes = self.encode_rows(flat_rows(x))
        return Codes(*(unflat(part, x.shape[:-1]) for part in codes)).of(self.config.n_features)

    def decode(self, codes: Codes) -> Float[Tensor, "... d_out"]:
        """What the features write, and the output bias, from codes "... k" of tensors or numpy arrays. Raises
        BadInput where that is not the reconstruction: ``rebuild`` gives it where the input is needed as well."""
        for there, what in ((self.config.skip, "a skip path"), (self.config.layer_norm, "layer norm")):
            if there:
                raise BadInput(
                    f"This dictionary has {what}, so its reconstruction takes what it read as well as the codes. Call "
                    "sae.rebuild(x, codes) with the activations that these are codes of, or sae(x)."
                )
        rows, leading = flat_codes(codes, self._like)
        return unflat(self.decode_rows(rows), leading)

    def rebuild(
        self, x: Float[Tensor, "... d_in"] | Float[np.ndarray, "... d_in"], codes: Codes
    ) -> Float[Tensor, "... d_out"]:
        """The dictionary's guess from these codes: what they write, and whatever reaches the output beside them. Codes
        "... k" may have been changed since ``x`` was encoded. Raises BadInput for codes of other rows."""
        x = tensor_of(x, self._like)
        self.check_rows(x)
        rows, leading = flat_codes(codes, self._like)
        if leading != x.shape[:-1]:
            raise BadInput(
                f"Codes and activations are of the same tokens; received codes of {list(leading)} and activations of "
                f"{list(x.shape[:-1])}. Give the activations that were encoded."
            )
        return unflat(self.rebuild_rows(flat_rows(x), rows), leading)

    @abstractmethod
    def encode_rows(self, x: Float[Tensor, "tokens d_in"]) -> Codes:
        """``encode`` of rows of the right width."""

    @abstractmethod
    def decode_rows(self, codes: Codes) -> Float[Tensor, "tokens d_out"]:
        """What the features write, and the output bias."""

    def rebuild_rows(self, x: Float[Tensor, "tokens d_in"], codes: Codes) -> Float[Tensor, "tokens d_out"]:
        """``rebuild`` of rows of the right width."""
        return self.decode_rows(codes)

    @property
    def _like(self) -> Tensor:
        return next(self.parameters())

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
        """Raises BadInput unless ``x`` is [..., d_in]."""
        if x.ndim == 0 or x.shape[-1] != self.config.d_in:
            raise BadInput(
                f"This dictionary reads rows of width {self.config.d_in}, [..., {self.config.d_in}]; received "
                f"{list(x.shape)}. Give activations of its own site, those of several sites side by side."
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

    def unfold(self, frame: Frame) -> None:
        """Undo ``fold``: read and write inside ``frame``, as in training."""
        # What undoes a fold is two of them: a shift and then a stretch.
        none_in, none_out = torch.zeros_like(frame.mean_in), torch.zeros_like(frame.mean_out)
        self.fold(Frame(-frame.mean_in, none_in + 1, -frame.mean_out, none_out + 1))
        self.fold(Frame(none_in, 1 / frame.scale_in, none_out, 1 / frame.scale_out))

    @abstractmethod
    def recentre(self) -> None:
        """Subtract nothing from what is read any more, and still say the same: losses know of no centre, for in
        training it is 0."""
