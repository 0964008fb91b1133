"""Linear, the usual partial dictionary: a matrix in, a matrix out, and what is common to all that have these."""

from abc import abstractmethod
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from physalis.dictionaries.base import Dictionary, Shape, Tick
from physalis.dictionaries.kernels import rows
from physalis.dictionaries.kernels.rows import Rows
from physalis.types import Batch, Codes, Frame

REVIVE_EVERY = 8  # tokens


class Linear(Dictionary):
    """Supplies all but the choice of features from ``enc`` [features, d_in], ``b_enc``, ``dec`` [features, d_out] and
    ``b_dec``.

    ``centre`` is subtracted before encoding. It is 0 while training on centred data and the mean after folding: in
    bfloat16 the subtraction has to come before the product, or the mean's share of the product drowns the codes.
    """

    enc: Rows
    dec: Rows
    b_enc: nn.Parameter
    b_dec: nn.Parameter
    centre: Tensor
    skip: nn.Parameter | None
    """[d_out, d_in], where the config asks for it."""

    def _make(self, config: Shape) -> None:
        self.config = config
        self.enc = Rows(torch.zeros(config.n_features, config.d_in))
        self.dec = Rows(torch.zeros(config.n_features, config.d_out))
        self.dec.on_sphere = True
        self.b_enc = nn.Parameter(torch.zeros(config.n_features))
        self.b_dec = nn.Parameter(torch.zeros(config.d_out))
        self.register_buffer("centre", torch.zeros(config.d_in))
        self.skip = nn.Parameter(torch.zeros(config.d_out, config.d_in)) if config.skip else None

    @property
    def W_enc(self) -> Float[Tensor, "d_in features"]:
        return self.enc.data.T

    @property
    def W_dec(self) -> Float[Tensor, "features d_out"]:
        """Directions: rows of length 1, unless another tool's weights were converted."""
        return self.dec.data

    def reads(self, ids: Int[Tensor, " n"]) -> Float[Tensor, "n d_in"]:
        """Gradient of the features' pre-activations with respect to the input."""
        return self.enc.data[ids.long()]

    def writes(self, ids: Int[Tensor, " n"]) -> Float[Tensor, "n d_out"]:
        """What one unit of each feature adds to the output."""
        return self.dec.data[ids.long()]

    def compute_in(self, dtype: torch.dtype) -> None:
        self.enc.compute_in(dtype)

    def inside(self, x: Float[Tensor, "tokens d_in"]) -> Float[Tensor, "tokens d_in"]:
        """What the encoder's product is taken with."""
        x = x.float()
        if self.config.layer_norm:
            x = (x - x.mean(1, keepdim=True)) / _deviation(x)
        return x - self.centre

    @abstractmethod
    def choose(self, x: Float[Tensor, "tokens d_in"]) -> Codes:
        """Which features fire on rows that went through ``inside``, and how strongly: exactly, as ``candidates`` tells,
        for what a dictionary says is the same on every machine. Losses may choose by a product alone."""

    def valued(self, x: Float[Tensor, "tokens d_in"], codes: Codes) -> Codes:
        """The chosen features with differentiable values."""
        return rows.differentiable(x, self.enc, self.b_enc, codes)

    def encode_rows(self, x: Float[Tensor, "tokens d_in"]) -> Codes:
        x = self.inside(x)
        return self.valued(x, self.choose(x))

    def decode_rows(self, codes: Codes) -> Float[Tensor, "tokens d_out"]:
        return rows.decode(codes, self.dec, self.b_dec)

    def rebuild_rows(self, x: Float[Tensor, "tokens d_in"], codes: Codes) -> Float[Tensor, "tokens d_out"]:
        y = self.predict(self.inside(x), codes)
        if self.config.layer_norm:
            y = y * x.float().std(1, keepdim=True) + x.float().mean(1, keepdim=True)
        return y

    def gain(self, x: Float[Tensor, "tokens d_in"]) -> Float[Tensor, "tokens 1"]:
        return x.float().std(1, keepdim=True) if self.config.layer_norm else super().gain(x)

    def predict(self, x: Float[Tensor, "tokens d_in"], codes: Codes) -> Float[Tensor, "tokens d_out"]:
        """``rebuild_rows`` for rows that went through ``inside``."""
        y = self.decode_rows(codes)
        return y if self.skip is None else y + x @ self.skip.T

    def revive(self, x: Float[Tensor, "tokens d_in"], rest: Float[Tensor, "tokens d_out"], tick: Tick) -> Tensor:
        """Auxiliary loss: how much of what is left over the dead features fail to predict (Gao et al. 2024,
        arXiv 2406.04093, A.2, with d_out / 2 of them at most a token). Costs nothing while none is dead, and otherwise
        multiplies only the dead features' rows, with every eighth token: which way they should turn is seen on few."""
        among = tick.dead.nonzero().flatten()
        if len(among) == 0:
            return rest.new_zeros(())
        x, rest = x[::REVIVE_EVERY], rest[::REVIVE_EVERY]
        k = max(1, min(len(among), rest.shape[1] // 2))
        codes = rows.differentiable(x, self.enc, self.b_enc, rows.top(x, self.enc, self.b_enc, k, among=among))
        missing = -rest.detach()
        guess = rows.decode(codes, self.dec, torch.zeros_like(self.b_dec))
        return (missing - guess).square().sum() / missing.square().sum().clamp_min(1e-12)

    @torch.no_grad()
    def start(self, sample: Batch, *, seed: int) -> None:
        """Each feature starts half way between a data point and chance: it reads along a token's x and writes along
        that token's y, plus noise as long as those, the same noise where widths allow. The encoder's length is the one
        whose reconstruction fits the sample best.

        Data points alone copy what the data mix together; chance alone starts far from them. Measured, one seed: FVU on
        SmolLM2-135M L9.resid_post, 4,608 features, k = 32, 266k tokens, .1163 from data points, .1196 from chance,
        .1144 from both; F1 on the scaled world (BatchTopK) .56, .60 to .63 and .61.
        """
        n, features = sample.x.shape[0], self.enc.shape[0]
        generator = torch.Generator().manual_seed(seed)
        order = torch.randperm(n, generator=generator).repeat(-(-features // n))[:features].to(sample.x.device)
        noise = nn.functional.normalize(_noise(self.dec, generator), dim=1)
        for weight, points in ((self.dec, sample.y), (self.enc, sample.x)):
            if weight.shape != noise.shape:
                noise = nn.functional.normalize(_noise(weight, generator), dim=1)
            directions = nn.functional.normalize(points[order].float(), dim=1)
            weight.data.copy_(nn.functional.normalize(directions + noise, dim=1))
        self.settle(sample)

    @torch.no_grad()
    def start_frozen(self, sample: Batch, frozen: str, *, seed: int) -> None:
        """The baselines that say what learning was worth (arXiv 2602.14111): random directions in the part named
        ``frozen``, "dec" or "enc", that no training will move, and the other part beginning along them."""
        generator = torch.Generator().manual_seed(seed)
        held, other = (self.dec, self.enc) if frozen == "dec" else (self.enc, self.dec)
        held.data.copy_(nn.functional.normalize(_noise(held, generator), dim=1))
        same = other.shape == held.shape
        other.data.copy_(held.data if same else nn.functional.normalize(_noise(other, generator), dim=1))
        self.settle(sample)
        held.requires_grad_(False)

    @torch.no_grad()
    def settle(self, sample: Batch) -> None:
        """Bring the encoder to the length whose reconstruction fits the sample best; directions are there already."""
        self.enc.refresh()
        few = Batch(*(part[: 4 * 2048] for part in sample))
        self.fit(rows.top(few.x, self.enc, self.b_enc, self.config.k), few.y)

    def fit(self, codes: Codes, y: Float[Tensor, "tokens d_out"]) -> float:
        """Multiply the encoder, not its bias, by what makes ``codes`` rebuild ``y`` best; returns that number."""
        guess = rows.add_rows(codes, self.dec, torch.zeros_like(y))
        fit = max(float((guess * y).sum() / guess.square().sum().clamp_min(1e-12)), 1e-3)
        self.enc.data.mul_(fit)
        self.enc.refresh()
        return fit

    @torch.no_grad()
    def fold(self, frame: Frame) -> None:
        self.enc.data.mul_(frame.scale_in)
        self.centre.div_(frame.scale_in).add_(frame.mean_in)
        self.dec.data.div_(frame.scale_out)
        self.b_dec.data.div_(frame.scale_out).add_(frame.mean_out)
        if self.skip is not None:
            self.skip.data.mul_(frame.scale_in).div_(frame.scale_out[:, None])
        length = self.absorbed(self.dec.data.norm(dim=1).clamp_min(1e-30))
        self.dec.data.div_(length[:, None])
        self.multiply_codes(length)
        self.enc.refresh()

    @torch.no_grad()
    def recentre(self) -> None:
        self.b_enc.sub_(self.enc.data @ self.centre)
        if self.skip is not None:
            self.b_dec.sub_(self.skip @ self.centre)
        self.centre.zero_()

    def absorbed(self, lengths: Float[Tensor, " features"]) -> Float[Tensor, " features"]:
        """What folding moves of the directions' lengths into the codes: all, so that directions have length 1."""
        return lengths

    def multiply_codes(self, by: Float[Tensor, " features"]) -> None:
        """Make every code ``by`` times what it was."""
        self.enc.data.mul_(by[:, None])
        self.b_enc.data.mul_(by)

    def load_state_dict(self, state_dict: Any, strict: bool = True, assign: bool = False) -> Any:
        result = super().load_state_dict(state_dict, strict=strict, assign=assign)
        self.enc.refresh()
        return result


def _noise(like: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randn(like.shape, generator=generator).to(like.device)


def _deviation(x: Tensor) -> Tensor:
    return x.std(1, keepdim=True) + 1e-5
