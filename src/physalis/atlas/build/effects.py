"""What a feature writes: tokens it promotes and suppresses on the direct path, and the features that write alike.

Direct path only: a feature's direction times the unembedding, as if nothing between the site and the output read it.
That is most of what a late layer's feature does to the output and little of what an early one's does.

Both are products too large to keep, [features, vocabulary] and [features, features], so they are made a block of
features at a time, in bfloat16 where the hardware multiplies it natively. That is exact enough to choose candidates and
for the histogram; the numbers shown are then computed again in float32 for the chosen few.
"""

from collections.abc import Iterator
from concurrent.futures import Executor
from typing import NamedTuple, no_type_check

import numpy as np
import torch
from jaxtyping import Bool, Float
from numba import njit
from torch import Tensor

from physalis.dictionaries.kernels.rows import dot_rows
from physalis.models.hooks import depth
from physalis.placement.place import Place
from physalis.runtime.device import compute_dtype
from physalis.types import Codes

STREAM = ("embed", "resid_pre", "resid_mid", "resid_post")
"""Sites that are the residual stream."""

ADDS = ("attn_out", "mlp_out")
"""Sites whose values are added to it."""

BLOCK = 1 << 24
"""Numbers of a product in memory at once."""

PART = 32
"""Features a thread takes at a time."""

SPARE = 4
"""Candidates kept beyond those shown, because rounding can swap neighbours."""


STRIP = 256
"""Logits summed in float32 before float64 takes over, and skipped together if none is among the largest so far."""


class Effects(NamedTuple):
    """One row a feature. The strongest first; -1 pads ids."""

    promoted: np.ndarray
    promoted_logit: np.ndarray
    suppressed: np.ndarray
    suppressed_logit: np.ndarray
    counts: np.ndarray
    """[features, bins]: tokens by logit, equal bins over ``range``."""
    range: np.ndarray
    """[features, 2]: smallest and largest logit."""
    kurtosis: np.ndarray
    """Excess kurtosis over the vocabulary: 0 if the logits are normally distributed."""


class Nearest(NamedTuple):
    """One row a feature, the nearest first; -1 pads ids."""

    ids: np.ndarray
    cosine: np.ndarray


def no_effects(n_features: int, *, n: int, bins: int) -> Effects:
    """For sites from which no direct path leads to the logits."""
    ids, logits = np.full((n_features, n), -1, np.int32), np.zeros((n_features, n), np.float32)
    counts, span = np.zeros((n_features, bins), np.uint32), np.zeros((n_features, 2), np.float32)
    return Effects(ids, logits, ids, logits, counts, span, np.zeros(n_features, np.float32))


def to_the_logits(
    directions: Float[Tensor, "features d_out"], place: Place, width: int
) -> Float[Tensor, "features d_model"] | None:
    """What each feature adds to the residual stream as it reaches the unembedding on the direct path; None where none
    leads there.

    Of several sites that are written, those of the stream itself hold it one after another, so the last of them is what
    there is; what attention and MLPs write after it is added.
    """
    parts = place.split(directions)
    last = max((site for site in parts if site.name in STREAM), key=depth, default=None)
    on_the_way = [s for s in parts if s == last or s.name in ADDS and (last is None or depth(s) > depth(last))]
    if not on_the_way or any(parts[site].shape[1] != width for site in on_the_way):
        return None
    return torch.stack([parts[site] for site in on_the_way]).sum(0)


def direct_effects(
    directions: Float[Tensor, "features d_model"],
    unembedding: Float[Tensor, "vocab d_model"],
    *,
    known: Bool[Tensor, " vocab"] | None = None,
    n: int,
    bins: int,
    pool: Executor,
) -> Effects:
    """How one unit of each feature changes every token's logit: the ``n`` largest and smallest, and how all lie. Ids
    that no tokenizer knows (where ``known`` is False) count nowhere."""
    if known is not None and not known.all():
        ids = known.nonzero()[:, 0]
        found = direct_effects(directions, unembedding[ids], n=n, bins=bins, pool=pool)
        names = np.append(ids.cpu().numpy(), -1).astype(np.int32)  # -1, which pads, stays so
        return found._replace(promoted=names[found.promoted], suppressed=names[found.suppressed])
    none = no_effects(len(directions), n=n, bins=bins)
    out = Effects(*(array.copy() for array in none))
    n_candidates = min(n + SPARE, len(unembedding))
    n = min(n, n_candidates)
    high, low = (np.empty((len(directions), n_candidates), np.int64) for _ in range(2))
    for first, product in _products(directions, unembedding):
        kind, shift = (torch.int16, 16) if product.dtype == torch.bfloat16 else (torch.int32, 0)
        rows = product.view(kind).numpy()
        here = slice(first, first + len(rows))
        outputs = (high[here], low[here], out.range[here], out.counts[here], out.kurtosis[here])
        parts = [slice(a, a + PART) for a in range(0, len(rows), PART)]
        list(pool.map(lambda part: _survey(rows[part], np.int32(shift), *(output[part] for output in outputs)), parts))  # noqa: B023
    for ids, logits, candidates, sign in (
        (out.promoted, out.promoted_logit, high, 1),
        (out.suppressed, out.suppressed_logit, low, -1),
    ):
        chosen, values = _exactly(directions, unembedding, torch.from_numpy(candidates), sign)
        ids[:, :n], logits[:, :n] = chosen[:, :n], values[:, :n]
    return out


def nearest_directions(
    directions: Float[Tensor, "features d_out"], living: Bool[Tensor, " features"], *, n: int
) -> Nearest:
    """The living features with the largest cosine to each feature's direction, itself apart."""
    units = directions / directions.norm(dim=1, keepdim=True).clamp(min=1e-12)
    pool = living.nonzero().squeeze(1)
    ids, cosine = np.full((len(units), n), -1, np.int32), np.zeros((len(units), n), np.float32)
    n_candidates = min(n + SPARE + 1, len(pool))
    if n_candidates < 2:
        return Nearest(ids, cosine)
    candidates = torch.empty(len(units), n_candidates, dtype=torch.long)
    for first, product in _products(units, units[pool]):
        found = product.float().topk(n_candidates, dim=1).indices
        candidates[first : first + len(product)] = pool.cpu()[found]
    chosen, values = _exactly(units, units, candidates, 1)
    own = chosen == np.arange(len(units))[:, None]
    values[own] = -np.inf
    order = np.argsort(-values, axis=1, kind="stable")[:, : min(n, n_candidates - 1)]
    m = order.shape[1]
    ids[:, :m], cosine[:, :m] = np.take_along_axis(chosen, order, 1), np.take_along_axis(values, order, 1)
    return Nearest(ids, cosine)


def _products(left: Tensor, right: Tensor) -> Iterator[tuple[int, Tensor]]:
    """``left @ right.T`` by rows of ``left``, each block on the CPU with the index of its first row."""
    dtype = compute_dtype(left.device)
    left, right = left.to(dtype), right.to(dtype).T
    size = max(1, min(len(left), BLOCK // right.shape[1]))
    out = torch.empty(size, right.shape[1], dtype=dtype, device=left.device)
    for first in range(0, len(left), size):
        block = left[first : first + size]
        yield first, torch.mm(block, right, out=out[: len(block)]).cpu()


def _exactly(left: Tensor, right: Tensor, candidates: Tensor, sign: int) -> tuple[np.ndarray, np.ndarray]:
    """Candidates [rows of left, n] sorted by ``sign`` times their float32 product, and those products."""
    candidates = candidates.to(left.device)
    everywhere = torch.ones(candidates.shape, device=left.device)
    exact = dot_rows(left, Codes(everywhere, candidates.int()), right)
    order = (exact * -sign).argsort(dim=1, stable=True)
    return candidates.gather(1, order).cpu().numpy(), exact.gather(1, order).cpu().numpy()


@njit(inline="always")
@no_type_check
def _ordered(bits):
    return np.int32(bits ^ ((bits >> np.int32(31)) & np.int32(0x7FFFFFFF)))


@njit(inline="always", error_model="numpy")
@no_type_check
def _excess_kurtosis(first, second, third, fourth):
    """From the mean powers of the distances to any point near the mean."""
    variance = second - first * first
    central = fourth - 4 * first * third + 6 * first * first * second - 3 * first**4
    return central / (variance * variance) - 3 if variance > 0 else 0.0


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract", "nsz", "nnan"}, error_model="numpy")
@no_type_check
def _survey(bits, shift, high, low, span, counts, kurtosis):
    """Everything about each row of logits. ``bits`` are float32's as integers, or bfloat16's with a ``shift`` of 16.

    Loops that sum store nothing. A compiler vectorises a loop that does both only after comparing addresses, and then
    the order of the sum, and its last bits, would depend on where numpy put the arrays.
    """
    width, n, bins = bits.shape[1], high.shape[1], counts.shape[1]
    row_bits = np.empty(width, np.int32)
    row = row_bits.view(np.float32)
    n_strips = -(-width // STRIP)
    extremes = np.empty((2, n_strips), np.int32)
    lowest, highest = extremes.view(np.float32)
    place = np.empty(width, np.uint8)
    tables = np.empty((4, bins), np.uint32)
    top, bottom = np.empty(n, np.float32), np.empty(n, np.float32)
    for f in range(bits.shape[0]):
        for i in range(width):
            row_bits[i] = np.int32(bits[f, i]) << shift
        pivot = row[: min(width, STRIP)].mean()
        first, second, third, fourth = 0.0, 0.0, 0.0, 0.0
        for s in range(n_strips):
            begin, end = s * STRIP, min(width, (s + 1) * STRIP)
            one, two, three, four = np.float32(0), np.float32(0), np.float32(0), np.float32(0)
            for i in range(begin, end):
                away = row[i] - pivot
                square = away * away
                one += away
                two += square
                three += away * square
                four += square * square
            first, second, third, fourth = first + one, second + two, third + three, fourth + four
            # With the negative ones' other bits flipped, floats order as the integers that their bits are; and extremes
            # of integers are vectorised.
            least, most = _ordered(row_bits[begin]), _ordered(row_bits[begin])
            for i in range(begin, end):
                key = _ordered(row_bits[i])
                least, most = min(least, key), max(most, key)
            extremes[0, s], extremes[1, s] = _ordered(least), _ordered(most)
        smallest, largest = lowest.min(), highest.max()
        kurtosis[f] = _excess_kurtosis(first / width, second / width, third / width, fourth / width)
        span[f, 0], span[f, 1] = smallest, largest
        scale = np.float32(bins) / (largest - smallest) if largest > smallest else np.float32(0)
        for i in range(width):
            place[i] = np.uint8(min(np.float32(bins - 1), (row[i] - smallest) * scale))
        # Four tables, because equal neighbours would wait for each other's count in one.
        tables[:] = 0
        whole = width - width % 4
        for i in range(0, whole, 4):
            tables[0, place[i]] += 1
            tables[1, place[i + 1]] += 1
            tables[2, place[i + 2]] += 1
            tables[3, place[i + 3]] += 1
        for i in range(whole, width):
            tables[0, place[i]] += 1
        for b in range(bins):
            counts[f, b] = tables[0, b] + tables[1, b] + tables[2, b] + tables[3, b]
        top[:] = -np.inf
        bottom[:] = np.inf
        for s in range(n_strips):
            if highest[s] <= top[n - 1] and lowest[s] >= bottom[n - 1]:
                continue
            for i in range(s * STRIP, min(width, (s + 1) * STRIP)):
                value = row[i]
                if value > top[n - 1]:
                    slot = n - 1
                    while slot > 0 and top[slot - 1] < value:
                        top[slot], high[f, slot] = top[slot - 1], high[f, slot - 1]
                        slot -= 1
                    top[slot], high[f, slot] = value, i
                if value < bottom[n - 1]:
                    slot = n - 1
                    while slot > 0 and bottom[slot - 1] > value:
                        bottom[slot], low[f, slot] = bottom[slot - 1], low[f, slot - 1]
                        slot -= 1
                    bottom[slot], low[f, slot] = value, i
