"""Candidates: a fast product proposes features, an exact one decides, so that what fires is the same on every machine.

A product of numbers rounded to bfloat16 or int8 is wrong, by no more than ``|x - x'| |w| + |x'| |w - w'|`` (Cauchy and
Schwarz; both differences are measured, not assumed) and by its own rounding. That much it is only where all d roundings
push the same way; of independent ones each of the two has a standard deviation ``sqrt(d)`` times smaller, and
``_DEVIATIONS`` of their sum's are allowed for. Whatever could belong to the features that fire, were it wrong by so
much, is a candidate and is computed again from the float32 weights, in float64 on a CPU: so the choice is that of exact
arithmetic, and machines differ only where two features are equal to the last bit or so. That is checked where it is
used: a row with a candidate further off than was allowed for, or with more of them than there is room for, is done
again in float32, whose bound is the worst case. What was never proposed is not checked: that is what the many
deviations are for.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from physalis.dictionaries.kernels import candidate_kernels as kernels
from physalis.dictionaries.kernels import rows as products
from physalis.dictionaries.kernels.rows import Rows
from physalis.types import Codes

_ROOM = 64  # candidates beyond those wanted that a row has room for at first
_MOST_ROOM = 4096  # candidates that room is made for in advance, once a row had as many
_DEVIATIONS = 8.5  # 4e-17 of normal errors lie further off
_OFFSET = 0.5  # of the rows' mean square that they have in common: from there on it is taken out before rounding


class _Product(NamedTuple):
    """Some rows' product: entry (t, f) stands for ``numbers * by[t] * scale[f] + bias[f]``, and is wrong by up to
    ``size[t] * error[f] + share * |numbers * by[t] * scale[f]| + extra[f]``."""

    numbers: Tensor
    by: Tensor
    scale: Tensor
    bias: Tensor
    size: Tensor
    error: Tensor
    extra: Tensor
    share: float

    def values(self) -> tuple[Tensor, Tensor]:
        """What all entries stand for, and by how much that may be wrong."""
        numbers = self.numbers.float() * self.by[:, None] * self.scale
        return numbers + self.bias, self.size[:, None] * self.error + self.share * numbers.abs() + self.extra

    def arrays(self) -> tuple:
        bits = self.numbers.view(torch.int16) if self.numbers.dtype == torch.bfloat16 else self.numbers
        each = (bits, self.by, self.scale, self.bias, self.size, self.error, self.extra)
        return *(part.numpy() for part in each), np.float32(self.share)


@torch.no_grad()
def top(x: Float[Tensor, "tokens d"], rows: Rows, bias: Float[Tensor, " features"], k: int) -> Codes:
    """The k largest positive ``x @ rows.T + bias`` of each token, from the largest to the smallest, exactly; values are
    float32."""
    k = min(k, len(rows))
    bias = bias.detach()
    if not len(x):
        return _none(x, k)
    if x.device.type != "cpu":
        return _decided(x, rows, bias, None, k, half=rows.half)

    def propose(product: _Product, found: tuple) -> None:
        kernels.propose_top(*product.arrays(), k, *found)  # pyright: ignore[reportCallIssue]

    def decide(x: Tensor, found: tuple, failed: Tensor) -> Codes:
        values, ids = torch.empty((len(x), k)), torch.empty((len(x), k), dtype=torch.int32)
        known = (x.numpy(), rows.detach().numpy(), bias.numpy(), *found)
        kernels.decide_top(*known, values.numpy(), ids.numpy(), failed.numpy())  # pyright: ignore[reportCallIssue]
        return Codes(values, ids)

    return _on_cpu(x, rows, bias, propose, decide, at_least=k)


@torch.no_grad()
def above(
    x: Float[Tensor, "tokens d"],
    rows: Rows,
    bias: Float[Tensor, " features"],
    floor: Float[Tensor, " features"] | None = None,
) -> Codes:
    """Every ``x @ rows.T + bias`` of each token that is positive and larger than ``floor``, by ascending id, exactly,
    in as many columns as the fullest token needs; values are float32. ``floor`` is never negative; 0 if not given."""
    bias, floor = bias.detach(), torch.zeros_like(bias) if floor is None else floor.detach()
    if not len(x):
        return _none(x, 1)
    if x.device.type != "cpu":
        return _decided(x, rows, bias, floor, None, half=rows.half)

    def propose(product: _Product, found: tuple) -> None:
        kernels.propose_positive(*product.arrays(), *found)

    def decide(x: Tensor, found: tuple, failed: Tensor) -> Codes:
        values, ids = (torch.empty(found[0].shape, dtype=dtype) for dtype in (torch.float32, torch.int32))
        kept = torch.empty(len(x), dtype=torch.int32)
        known = (x.numpy(), rows.detach().numpy(), bias.numpy(), floor.numpy(), *found)
        kernels.decide_positive(*known, values.numpy(), ids.numpy(), kept.numpy(), failed.numpy())  # pyright: ignore[reportCallIssue]
        width = max(1, int(kept.max())) if len(kept) else 1
        return Codes(values[:, :width].contiguous(), ids[:, :width].contiguous())

    return _on_cpu(x, rows, bias, propose, decide, floor=floor)


def _on_cpu(
    x: Tensor,
    rows: Rows,
    bias: Tensor,
    propose: Callable[[_Product, tuple], None],
    decide: Callable[[Tensor, tuple, Tensor], Codes],
    *,
    floor: Tensor | None = None,
    at_least: int = 0,
) -> Codes:
    x = x.detach().contiguous()
    parts, failed = [], torch.zeros(len(x), dtype=torch.bool)
    at = most = 0
    for product in _products(x, rows, bias, floor, rows.half):
        n = len(product.numbers)
        found = _found(n, min(len(rows), max(rows.room, at_least + _ROOM)))
        propose(product, found)
        parts.append(decide(x[at : at + n], found, failed[at : at + n]))
        most = max(most, int(found[3].max()))
        at += n
    rows.room = max(rows.room, min(most, _MOST_ROOM))
    codes = _stacked(parts)
    if not bool(failed.any()):
        return codes
    again, parts = failed.nonzero().flatten(), []
    odd = x[again]
    for product, piece in zip(_products(odd, rows, bias, floor, None), odd.split(_slice(rows, 4)), strict=True):
        room = min(len(rows), max(rows.room, at_least + _ROOM))
        while True:
            found = _found(len(piece), room)
            propose(product, found)
            fullest = int(found[3].max())
            if fullest <= room:
                break
            room = fullest
        parts.append(decide(piece, found, torch.zeros(len(piece), dtype=torch.bool)))
    return _replaced(codes, again, _stacked(parts))


def _none(x: Tensor, width: int) -> Codes:
    return Codes(*(torch.zeros((0, width), dtype=dtype, device=x.device) for dtype in (torch.float32, torch.int32)))


def _found(n: int, room: int) -> tuple:
    """Memory for candidates: (ids, values, errors, how many)."""
    empty, shape = np.empty, (n, room)
    return empty(shape, np.int32), empty(shape, np.float32), empty(shape, np.float32), empty(n, np.int32)


def _stacked(parts: list[Codes]) -> Codes:
    if len(parts) == 1:
        return parts[0]
    width = max(part.values.shape[1] for part in parts)
    return Codes(*(torch.cat([_wide(part[i], width) for part in parts]) for i in (0, 1)))


def _replaced(codes: Codes, at: Tensor, by: Codes) -> Codes:
    """The codes with some rows' exchanged, in as many columns as they need."""
    width = max(codes.values.shape[1], by.values.shape[1])
    values, ids = (_wide(part, width).clone() for part in codes)
    values[at], ids[at] = _wide(by.values, width), _wide(by.ids, width)
    return products.narrow(Codes(values, ids)) if width > codes.values.shape[1] else Codes(values, ids)


def _wide(part: Tensor, width: int) -> Tensor:
    return torch.nn.functional.pad(part, (0, width - part.shape[1]))


def _decided(x: Tensor, rows: Rows, bias: Tensor, floor: Tensor | None, k: int | None, *, half: Tensor | None) -> Codes:
    """The same where there are no kernels of ours: whatever the product of some rows proposes, decided in float32."""
    x, found, at = x.detach(), [], 0
    for product in _products(x, rows, bias, floor, half):
        piece = x[at : at + len(product.numbers)]
        at += len(piece)
        values, wrong = product.values()
        high = values + wrong
        least = torch.zeros_like(high[:, :1])
        if k is not None:
            least = (values - wrong).topk(k, dim=1).values[:, -1:].clamp_min(0)
        may = (high >= least) & (high > 0)
        width = max(1, int(may.sum(1).max()))
        high, ids = high.masked_fill(~may, 0).topk(width, dim=1)
        if k is None:  # by ascending id, what is no candidate last
            order = ids.masked_fill(high <= 0, len(rows)).argsort(dim=1)
            high, ids = high.gather(1, order), ids.gather(1, order)
        marks = Codes((high > 0).float(), ids.int())
        exact = products.dot_rows(piece, marks, rows) + bias[ids]
        above = exact if floor is None else exact - floor[ids]
        off = (high > 0) & ((above - values.gather(1, ids)).abs() > wrong.gather(1, ids))
        fires = (high > 0) & (above > 0) & (exact > 0)
        codes = Codes(exact * fires, marks.ids)
        if k is not None:
            best, order = codes.values.topk(min(k, width), dim=1)
            codes = Codes(_wide(best, k), _wide(codes.ids.gather(1, order), k))
        again = off.any(1).nonzero()[:, 0] if half is not None else off.new_zeros(0, dtype=torch.long)
        if len(again):
            codes = _replaced(codes, again, _decided(piece[again], rows, bias, floor, k, half=None))
        found.append(codes if k is not None else products.narrow(codes))
    return _stacked(found)


def _slice(rows: Rows, bytes_each: int) -> int:
    return max(1, products.PRODUCT_BYTES // (len(rows) * bytes_each))


def _products(x: Tensor, rows: Rows, bias: Tensor, floor: Tensor | None, half: Tensor | None) -> Iterator[_Product]:
    """``x @ rows.T + bias - floor`` in slices, each valid until the next, in the dtype of ``half`` or in float32."""
    d, weight = x.shape[1], rows.data if half is None else half
    length, missed = rows.errors() if half is not None else (rows.data.norm(dim=1), None)
    middle = x.mean(0)
    added = bias if floor is None else bias - floor
    extra = bias.abs() if floor is None else bias.abs() + floor
    shifted = len(x) > 1 and bool(middle.square().sum() > _OFFSET * x.square().sum() / len(x))
    if shifted:
        x = x - middle
        common = torch.cat([part.to(_exact(x)) @ middle.to(_exact(x)) for part in rows.data.split(4096)])
        added, extra = (added + common).float(), (extra + common.abs()).float()
    extra = extra * 2**-22
    if x.device.type == "mps" and shifted:  # which knows no float64
        extra = extra + d * 2**-23 * middle.norm() * length
    one = torch.ones(len(rows), device=x.device)
    bytes_each = 2 if weight.dtype == torch.bfloat16 else 4
    for piece in x.split(_slice(rows, bytes_each)):
        if weight.dtype == torch.int8:
            rounded, by = products.quantised(piece)
            seen = rounded.float() * by[:, None]
        else:
            rounded, by = piece.to(weight.dtype), piece.new_ones(len(piece))
            seen = rounded.float()
        size = seen.norm(dim=1)
        error = d * 2**-23 * length  # of float32 sums
        if missed is not None:
            ratio = ((piece - seen).norm(dim=1) / size.clamp_min(1e-30)).max()
            ours = ratio * length
            error = error + torch.minimum(ours + missed, torch.hypot(ours, missed) * _DEVIATIONS / d**0.5)
        numbers = products.product(rounded, weight)
        scale = rows.scale if weight.dtype == torch.int8 and rows.scale is not None else one
        share = 1.01 * 2**-8 if weight.dtype == torch.bfloat16 else 2**-22
        yield _Product(numbers, by, scale, added, size, error, extra, share)


def _exact(x: Tensor) -> torch.dtype:
    return torch.float32 if x.device.type == "mps" else torch.float64
