"""Dictionary, the type every architecture implements, and Linear, the usual partial one: a matrix in, a matrix out.

A dictionary is maths on tensors. It never sees a model or a store; the training loop owns time and tells it what it may
know in a ``Tick``. Centring and scale are not its business: ``fold`` builds the constants kept by the activations into
the weights once training is over, so that a stored dictionary reads and writes raw activations.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from physalis.dictionaries import rows
from physalis.dictionaries.rows import Rows
from physalis.errors import BadInput
from physalis.types import Batch, Codes


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
    """Features that fire on a token (on average, where the architecture says so)."""

    def __post_init__(self) -> None:
        for name in ("d_in", "d_out", "n_features", "k"):
            if getattr(self, name) < 1:
                raise BadInput(f"{name} must be at least 1; received {getattr(self, name)}.")
        if self.k >= self.n_features:
            raise BadInput(
                f"k = {self.k} must be smaller than the number of features, {self.n_features}: "
                "otherwise nothing is sparse. Lower --k or raise --features."
            )


class Dictionary(nn.Module, ABC):
    """A sparse dictionary. Subclasses are final: none is subclassed again."""

    config: Any
    """A frozen dataclass with at least the fields of Shape, saved beside the weights."""

    @abstractmethod
    def start(self, sample: Batch, *, seed: int) -> None:
        """Choose initial weights from data: at least as many rows as there are features is best."""

    @abstractmethod
    def encode(self, x: Float[Tensor, "tokens d_in"]) -> Codes:
        """Codes of each row; a row's codes never depend on the other rows."""

    @abstractmethod
    def decode(self, codes: Codes) -> Float[Tensor, "tokens d_out"]: ...

    @abstractmethod
    def loss(self, batch: Batch, tick: Tick) -> Loss:
        """The terms to minimise on a batch that is centred and scaled to mean square d_out."""

    @abstractmethod
    def constrain(self) -> None:
        """Called after every optimiser step."""

    @abstractmethod
    def compute_in(self, dtype: torch.dtype) -> None:
        """Take the large products in ``dtype``; masters stay float32."""

    @abstractmethod
    def fold(self, mean_in: Tensor, scale_in: float, mean_out: Tensor, scale_out: float) -> None:
        """Once trained on ``(x - mean) * scale``, read and write raw activations from now on."""


class Linear(Dictionary):
    """Supplies decode, fold and start from ``enc`` [features, d_in], ``b_enc``, ``dec`` [features, d_out], ``b_dec``.

    ``centre`` is subtracted before encoding. It is 0 while training on centred data and the mean after folding: in
    bfloat16 the subtraction has to come before the product, or the mean's share of the product drowns the codes.
    """

    enc: Rows
    dec: Rows
    b_enc: nn.Parameter
    b_dec: nn.Parameter
    centre: Tensor

    def _make(self, shape: Shape) -> None:
        self.enc = Rows(torch.zeros(shape.n_features, shape.d_in))
        self.dec = Rows(torch.zeros(shape.n_features, shape.d_out))
        self.dec.on_sphere = True
        self.b_enc = nn.Parameter(torch.zeros(shape.n_features))
        self.b_dec = nn.Parameter(torch.zeros(shape.d_out))
        self.register_buffer("centre", torch.zeros(shape.d_in))

    @property
    def W_enc(self) -> Float[Tensor, "d_in features"]:
        return self.enc.data.T

    @property
    def W_dec(self) -> Float[Tensor, "features d_out"]:
        """Directions: rows of length 1."""
        return self.dec.data

    def reads(self, ids: Int[Tensor, " n"]) -> Float[Tensor, "n d_in"]:
        """Gradient of the features' pre-activations with respect to the input."""
        return self.enc.data[ids.long()]

    def writes(self, ids: Int[Tensor, " n"]) -> Float[Tensor, "n d_out"]:
        """What one unit of each feature adds to the output."""
        return self.dec.data[ids.long()]

    def compute_in(self, dtype: torch.dtype) -> None:
        self.enc.compute_in(dtype)

    def decode(self, codes: Codes) -> Float[Tensor, "tokens d_out"]:
        return rows.decode(codes, self.dec, self.b_dec)

    def revive(self, x: Float[Tensor, "tokens d_in"], rest: Float[Tensor, "tokens d_out"], tick: Tick) -> Tensor:
        """Auxiliary loss: how much of what is left over the dead features fail to predict (Gao et al. 2024,
        arXiv 2406.04093, A.2, with d_out / 2 of them at most a token). Costs nothing while none is dead, and otherwise
        multiplies only the dead features' rows."""
        among = tick.dead.nonzero().flatten()
        if len(among) == 0:
            return rest.new_zeros(())
        k = max(1, min(len(among), rest.shape[1] // 2))
        codes = rows.differentiable(x, self.enc, self.b_enc, rows.top(x, self.enc, self.b_enc, k, among=among))
        missing = -rest.detach()
        guess = rows.decode(codes, self.dec, torch.zeros_like(self.b_dec))
        return (missing - guess).square().sum() / missing.square().sum().clamp_min(1e-12)

    @torch.no_grad()
    def start(self, sample: Batch, *, seed: int) -> None:
        """Each feature starts on a data point: it reads along a token's x and writes along that token's y, plus noise
        that tells near-copies apart. The encoder's length is the one whose reconstruction fits the sample best.

        Measured on SmolLM2-135M L9.resid_post, 4,608 features, k = 32, one pass over 280k tokens, one seed: at learning
        rate 6e-3, FVU .131 from random directions of length 1 and .115 from data points at the fitted length. At 3e-3,
        random directions gave .140 at length 1 and .131 at the fitted one. Data points at length 1 diverge (1e-3: 5.0).
        """
        n, features = sample.x.shape[0], self.enc.shape[0]
        generator = torch.Generator().manual_seed(seed)
        order = torch.randperm(n, generator=generator).repeat(-(-features // n))[:features].to(sample.x.device)
        for weight, points in ((self.enc, sample.x), (self.dec, sample.y)):
            directions = nn.functional.normalize(points[order].float(), dim=1)
            noise = torch.randn(directions.shape, generator=generator).to(directions.device)
            weight.data.copy_(nn.functional.normalize(directions + 0.1 * nn.functional.normalize(noise, dim=1), dim=1))
        self._fit_length(sample)

    def _fit_length(self, sample: Batch) -> None:
        self.enc.refresh()
        few = Batch(*(part[: 4 * 2048] for part in sample))
        codes = rows.top(few.x, self.enc, self.b_enc, self.config.k)
        guess = rows.add_rows(codes, self.dec, torch.zeros_like(few.y))
        fit = float((guess * few.y).sum() / guess.square().sum().clamp_min(1e-12))
        self.enc.data.mul_(max(fit, 1e-3))
        self.enc.refresh()

    @torch.no_grad()
    def start_frozen(self, sample: Batch, *, seed: int) -> None:
        """Random directions that no training will move, and an encoder that begins along them: the baseline that says
        what learning the directions was worth."""
        generator = torch.Generator().manual_seed(seed)
        noise = torch.randn(self.dec.shape, generator=generator).to(self.dec.device)
        self.dec.data.copy_(nn.functional.normalize(noise, dim=1))
        self.dec.requires_grad_(False)
        if self.enc.shape == self.dec.shape:
            self.enc.data.copy_(self.dec.data)
        else:
            noise = torch.randn(self.enc.shape, generator=generator).to(self.enc.device)
            self.enc.data.copy_(nn.functional.normalize(noise, dim=1))
        self._fit_length(sample)

    @torch.no_grad()
    def fold(self, mean_in: Tensor, scale_in: float, mean_out: Tensor, scale_out: float) -> None:
        # codes come out in units of the raw output: code_raw = code / scale_out
        self.enc.data.mul_(scale_in / scale_out)
        self.b_enc.data.div_(scale_out)
        self.b_dec.data.div_(scale_out).add_(mean_out)
        self.centre.add_(mean_in)
        self.enc.refresh()

    def load_state_dict(self, state_dict: Any, strict: bool = True, assign: bool = False) -> Any:
        result = super().load_state_dict(state_dict, strict=strict, assign=assign)
        self.enc.refresh()
        return result

    def to(self, *args: Any, **kwargs: Any) -> "Linear":
        moved = super().to(*args, **kwargs)
        if self.enc.half is not None:
            self.enc.half = self.enc.data.to(self.enc.half.dtype)
        return moved
