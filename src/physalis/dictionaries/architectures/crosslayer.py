"""A cross-layer transcoder: the features of a layer read that layer's input and write to the outputs of this layer and
all later ones (Ameisen et al. 2025, "Circuit Tracing").

Published with a JumpReLU and a tanh penalty; here features are chosen by rank over the batch and over all layers, which
gives each layer the share of the k that it can use, and a threshold for each feature stays.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, final

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from physalis.dictionaries.base import Dictionary, Loss, Shape, Tick
from physalis.dictionaries.kernels import candidates, rows
from physalis.dictionaries.kernels.rows import Rows
from physalis.dictionaries.thresholded import excess, follow
from physalis.errors import BadInput
from physalis.types import Batch, Codes, Frame


@dataclass(frozen=True, kw_only=True)
class CrossLayerConfig(Shape):
    k: int = 32
    """Features that fire on a token, all layers together, on average over the text."""
    layers: int = 1
    """Input, output and features are this many layers side by side."""
    most: int = 4
    """While training, no layer fires more than ``most * k`` features on a token."""
    threshold_decay: float = 0.99
    """Of the running mean, over training batches, of the smallest code that was kept."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("d_in", "d_out", "n_features"):
            if self.layers < 1 or getattr(self, name) % self.layers:
                raise BadInput(f"{name} = {getattr(self, name)} must be a multiple of layers = {self.layers}.")
        if self.skip or self.layer_norm:
            raise BadInput("A cross-layer transcoder has neither a skip path nor layer norm here; leave them out.")


@final
class CrossLayer(Dictionary):
    """``codes_l = threshold((x_l - centre_l) @ W_enc_l + b_enc_l)``, ``y_hat_m = b_dec_m + sum over l <= m of codes_l @
    W_dec_lm``. Feature i of layer l has the id ``l * n_features / layers + i``."""

    def __init__(self, config: CrossLayerConfig) -> None:
        super().__init__()
        self.config = config
        n = config.layers
        self.d_in, self.d_out, self.each = config.d_in // n, config.d_out // n, config.n_features // n
        self.enc = nn.ParameterList([Rows(torch.zeros(self.each, self.d_in)) for _ in range(n)])
        self.dec = nn.ParameterList([Rows(torch.zeros(self.each, (n - i) * self.d_out)) for i in range(n)])
        for dec in self.dec:
            dec.on_sphere = True
        self.b_enc = nn.Parameter(torch.zeros(config.n_features))
        self.b_dec = nn.Parameter(torch.zeros(config.d_out))
        self.register_buffer("centre", torch.zeros(config.d_in))
        self.register_buffer("threshold", torch.zeros(config.n_features))
        self.centre: Tensor
        self.threshold: Tensor

    def _layers(self, x: Tensor) -> Iterator[tuple[Rows, Tensor, Tensor, int]]:
        """Each layer's (rows, bias, input, first feature id)."""
        for i, enc in enumerate(self.enc):
            yield (
                enc,
                self.b_enc[i * self.each : (i + 1) * self.each],
                x[:, i * self.d_in : (i + 1) * self.d_in],
                (i * self.each),
            )

    def reads(self, ids: Int[Tensor, " n"]) -> Float[Tensor, "n d_in"]:
        """Gradient of the features' pre-activations with respect to the input."""
        out = self.b_dec.new_zeros(len(ids), self.config.d_in)
        for row, f in zip(out, ids.tolist(), strict=True):
            i = f // self.each
            row[i * self.d_in : (i + 1) * self.d_in] = self.enc[i].data[f % self.each]
        return out

    def writes(self, ids: Int[Tensor, " n"]) -> Float[Tensor, "n d_out"]:
        """What one unit of each feature adds to the output: nothing to layers before its own."""
        out = self.b_dec.new_zeros(len(ids), self.config.d_out)
        for row, f in zip(out, ids.tolist(), strict=True):
            row[(f // self.each) * self.d_out :] = self.dec[f // self.each].data[f % self.each]
        return out

    def compute_in(self, dtype: torch.dtype) -> None:
        for enc in self.enc:
            enc.compute_in(dtype)

    def encode_rows(self, x: Float[Tensor, "tokens d_in"]) -> Codes:
        x = x.float() - self.centre
        return _joined([self._codes(*layer) for layer in self._layers(x)])

    def _codes(self, enc: Rows, bias: Tensor, part: Tensor, first: int) -> Codes:
        """One layer's."""
        threshold = self.threshold[first : first + self.each]
        part = part.contiguous()
        codes = rows.differentiable(part, enc, bias, candidates.above(part, enc, bias, threshold))
        return Codes(codes.values, codes.ids + first)

    def adds(self, layer: int, x: Float[Tensor, "tokens d_layer"]) -> Float[Tensor, "tokens d_rest"]:
        """What one layer's features, which read ``x`` alone, add to the outputs of that layer and all later ones: these
        of all layers and the bias are what ``decode`` gives."""
        first, dec = layer * self.each, self.dec[layer]
        centre = self.centre[layer * self.d_in : (layer + 1) * self.d_in]
        bias = self.b_enc[first : first + self.each]
        codes = self._codes(self.enc[layer], bias, x.float() - centre, first)
        return rows.decode(codes._replace(ids=codes.ids - first), dec, torch.zeros(dec.shape[1], device=dec.device))

    def decode_rows(self, codes: Codes) -> Float[Tensor, "tokens d_out"]:
        y = self.b_dec.expand(len(codes.ids), -1)
        layer = codes.ids // self.each
        for i, dec in enumerate(self.dec):
            own = Codes(codes.values * (layer == i), codes.ids % self.each)
            added = rows.decode(own, dec, torch.zeros(dec.shape[1], device=dec.device))
            y = y + nn.functional.pad(added, (i * self.d_out, 0))
        return y

    def loss(self, batch: Batch, tick: Tick) -> Loss:
        c = self.config
        most = min(c.most * c.k, self.each)
        found = [rows.top(part, enc, bias, most) for enc, bias, part, _ in self._layers(batch.x)]
        every = torch.cat([codes.values.flatten() for codes in found])
        keep = min(c.k * len(batch.x), len(every))
        least = every.kthvalue(len(every) - keep + 1).values
        parts = []
        for (enc, bias, part, first), codes in zip(self._layers(batch.x), found, strict=True):
            kept = rows.narrow(Codes(codes.values * (codes.values >= least), codes.ids))
            values = rows.differentiable(part, enc, bias, kept).values
            parts.append(Codes(values, kept.ids + first))
        codes = _joined(parts)
        follow(self.threshold, codes, tick, c.threshold_decay)
        return Loss({"fvu": (self.decode_rows(codes) - batch.y).square().mean()}, codes)

    @torch.no_grad()
    def start(self, sample: Batch, *, seed: int) -> None:
        """As Linear.start, layer by layer, with each layer's encoder fitted to the layers it writes to."""
        generator = torch.Generator().manual_seed(seed)
        for i, (enc, bias, x, _) in enumerate(self._layers(sample.x)):
            y = sample.y[:, i * self.d_out :]
            order = torch.randperm(len(x), generator=generator).repeat(-(-self.each // len(x)))[: self.each]
            for weight, points in ((enc, x), (self.dec[i], y)):
                noise = torch.randn(weight.shape, generator=generator).to(weight.device)
                directions = nn.functional.normalize(points[order.to(points.device)].float(), dim=1)
                mixed = directions + 0.1 * nn.functional.normalize(noise, dim=1)
                weight.data.copy_(nn.functional.normalize(mixed, dim=1))
            enc.refresh()
            codes = rows.top(x[: 4 * 2048], enc, bias, max(1, self.config.k // self.config.layers))
            guess = rows.add_rows(codes, self.dec[i], torch.zeros_like(y[: 4 * 2048]))
            fit = float((guess * y[: 4 * 2048]).sum() / guess.square().sum().clamp_min(1e-12))
            enc.data.mul_(max(fit, 1e-3) / self.config.layers)  # several layers rebuild the same output together
            enc.refresh()

    @torch.no_grad()
    def finish(self, sample: Batch) -> None:
        """Move all thresholds together until k features fire on a row on average."""
        layers = [
            (part, enc, bias, self.threshold[first : first + self.each])
            for enc, bias, part, first in self._layers(sample.x)
        ]
        self.threshold.mul_(excess(layers, self.config.k))

    @torch.no_grad()
    def fold(self, frame: Frame) -> None:
        self.centre.div_(frame.scale_in).add_(frame.mean_in)
        self.b_dec.data.div_(frame.scale_out).add_(frame.mean_out)
        for i, (enc, bias, _, first) in enumerate(self._layers(frame.scale_in[None])):
            enc.data.mul_(frame.scale_in[i * self.d_in : (i + 1) * self.d_in])
            dec = self.dec[i].data.div_(frame.scale_out[i * self.d_out :])
            length = dec.norm(dim=1).clamp_min(1e-30)
            dec.div_(length[:, None])
            enc.data.mul_(length[:, None])
            bias.data.mul_(length)
            self.threshold[first : first + self.each].mul_(length)
            enc.refresh()

    @torch.no_grad()
    def recentre(self) -> None:
        for enc, bias, part, _ in self._layers(self.centre[None]):
            bias.sub_(enc.data @ part[0])
        self.centre.zero_()

    def load_state_dict(self, state_dict: Any, strict: bool = True, assign: bool = False) -> Any:
        result = super().load_state_dict(state_dict, strict=strict, assign=assign)
        for enc in self.enc:
            enc.refresh()
        return result


def _joined(parts: list[Codes]) -> Codes:
    return Codes(torch.cat([p.values for p in parts], 1), torch.cat([p.ids for p in parts], 1))
