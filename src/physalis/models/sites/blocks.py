"""blocks: what one block of a model is made of, by numbers: the modules whose outputs add up to what the block adds."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import torch
from torch import Tensor, nn

from physalis.models.hooks import stream_key
from physalis.models.sites.norms import is_norm

MOST_PARTS = 40
"""Outputs of a block's modules that are tried in sums, shallowest first."""
PARTS = 3
"""Most modules whose outputs add up to what a block adds; three are looked for among its own members only."""


@dataclass(eq=False)
class Call:
    """One module called once in a block: what it was given and what it returned, each one row a token."""

    path: str
    module: nn.Module
    args: tuple
    kwargs: dict[str, Any]
    given: Tensor | None
    """Its first tensor, "rows width"."""
    begin: int
    out: Tensor | None = None
    """"rows d_model", None if what it returns has another width."""
    made: Tensor | None = None
    """What it returned, as it was."""
    end: int = -1

    @property
    def depth(self) -> int:
        return self.path.count(".")

    def contains(self, other: "Call") -> bool:
        return other.path == self.path or other.path.startswith(self.path + ".")


@dataclass
class Places:
    """What was found in one block: paths of modules, several where they stand for the same tensor."""

    attn_out: list[str] = field(default_factory=list)
    z: list[str] = field(default_factory=list)
    mlp_in: list[str] = field(default_factory=list)
    mlp_out: list[str] = field(default_factory=list)
    resid_mid: list[str] = field(default_factory=list)
    attn_norm: list[str] = field(default_factory=list)
    mlp_norm: list[str] = field(default_factory=list)
    mlp_gate: list[str] = field(default_factory=list)
    mlp_neurons: list[str] = field(default_factory=list)
    attn_scale: float = 1.0
    mlp_scale: float = 1.0

    def key(self) -> tuple:
        return tuple(map(tuple, (self.attn_out, self.z, self.mlp_in, self.mlp_out, self.resid_mid)))


@dataclass(frozen=True)
class Part:
    """A call whose output, times ``scale``, is added to the stream."""

    call: Call
    scale: float

    @property
    def added(self) -> Tensor:
        assert self.call.out is not None
        return self.call.out.float() * self.scale


def places(pre: Tensor, post: Tensor, calls: list[Call]) -> Places:
    """``calls`` are sorted from the outside in."""
    parts = _parts(pre, post, calls)
    found = Places()
    mixing = [part for part in parts if _mixes(_branch(part.call, calls), calls)]
    others = [part for part in parts if part not in mixing]
    attention = mixing[0] if mixing else None
    mlp = others[0] if len(others) == 1 else None
    if attention is not None:
        found.attn_out, found.attn_scale = _same(attention.call, calls), attention.scale
        branch = _branch(attention.call, calls)
        found.attn_norm = _norms(_outermost(branch, calls).given, pre, calls)
        found.z = _projections(branch, calls) if _is_attention(branch, calls) else []
    mid = pre
    if len(parts) > 1 and parts[0] is attention:
        between = (pre.float() + parts[0].added).to(pre.dtype)
        readers = [
            c for c in calls
            if c.given is not None and c.given.shape == pre.shape and c.end > parts[0].call.end
            and not torch.equal(c.given, pre) and _close(c.given, between, [pre, parts[0].added])
        ]  # fmt: skip
        if readers:
            readers.sort(key=lambda c: (c.begin, c.depth))
            mid = readers[0].given
            found.resid_mid = [c.path for c in readers if torch.equal(c.given, mid)]  # type: ignore[arg-type]
    if mlp is not None:
        found.mlp_out, found.mlp_scale = _same(mlp.call, calls), mlp.scale
        assert mid is not None
        branch = _branch(mlp.call, calls)
        found.mlp_in = _entries(branch, calls, mid)
        entry = next((c.given for c in calls if c.path in found.mlp_in), None)
        found.mlp_norm = [path for path in _norms(entry, mid, calls) if path not in found.attn_norm]
        found.mlp_gate = _gates(branch, calls)
        found.mlp_neurons = _projections(branch, calls)
    return found


def _parts(pre: Tensor, post: Tensor, calls: Sequence[Call]) -> list[Part]:
    """The fewest calls that add up to what the block adds, in the order in which they end; none if there are none."""
    distinct: list[Call] = []
    for call in calls:
        if call.out is None or torch.equal(call.out, pre) or torch.equal(call.out, post):
            continue
        if not any(torch.equal(call.out, other.out) for other in distinct):  # type: ignore[arg-type]
            distinct.append(call)
    distinct = distinct[:MOST_PARTS]
    outs = {call: call.out.float() for call in distinct if call.out is not None}
    added = post.float() - pre.float()
    for scaled in (False, True):
        for n in range(1, PARTS + 1):
            for some in combinations(distinct if n < PARTS else [c for c in distinct if not c.depth], n):
                terms = [outs[c] for c in some]
                for scales in _scales(terms, added) if scaled else [[1.0] * n]:
                    scaled_terms = [x * s for x, s in zip(terms, scales, strict=True)]
                    if _close(post, pre.float() + torch.stack(scaled_terms).sum(0), [pre, *scaled_terms]):
                        parts = [Part(c, s) for c, s in zip(some, scales, strict=True)]
                        return sorted(parts, key=lambda part: part.call.end)
    return []


def _scales(terms: Sequence[Tensor], added: Tensor) -> list[list[float]]:
    """By what to multiply the terms to get nearest to what is added: rounded, as a config would say it, and in full."""
    A = torch.stack([x.reshape(-1) for x in terms], 1).cpu().double()
    gram = A.T @ A
    if torch.linalg.matrix_rank(gram) < len(terms):
        return []
    found = torch.linalg.solve(gram, A.T @ added.reshape(-1).cpu().double())
    if not (found.abs() > 1e-3).all():
        return []
    return [[float(f"{s:.{digits}g}") for s in found.tolist()] for digits in (3, 8)]


def _close(x: Tensor, y: Tensor, terms: Sequence[Tensor]) -> bool:
    """Whether ``x`` is ``y`` but for the rounding of a sum of ``terms`` in the dtype of ``x``."""
    size = x.float().abs()
    for term in terms:
        size = size + term.float().abs()
    slack = 4 * torch.finfo(x.dtype).eps * size + 1e-30
    return bool(((x.float() - y.float()).abs() <= slack).all())


def _branch(call: Call, calls: Sequence[Call]) -> Call:
    """The call whose output a norm stands behind, or the call itself."""
    if call.given is None or call.out is None or not _is_norm(call):
        return call
    for other in calls:
        if (
            other is not call
            and other.out is not None
            and other.end < call.begin
            and torch.equal(other.out, call.given)
        ):
            return other
    return call


def _is_norm(call: Call) -> bool:
    return is_norm(call.module)


def _norms(read: Tensor | None, stream: Tensor, calls: Sequence[Call]) -> list[str]:
    """The norms of the stream whose output is what is read."""
    if read is None:
        return []
    return [
        c.path for c in calls
        if _is_norm(c) and c.out is not None and c.given is not None and c.given.shape == stream.shape
        and torch.equal(c.given, stream) and c.out.shape == read.shape and torch.equal(c.out, read)
    ]  # fmt: skip


def _gates(mlp: Call, calls: Sequence[Call]) -> list[str]:
    """The nonlinearity of an MLP whose last map reads what that makes times what another map, or half of it, makes."""
    inside = [c for c in calls if c.path != mlp.path and mlp.contains(c)]
    last = [c.given for c in inside if c.out is not None and c.given is not None and torch.equal(c.out, mlp.out)]  # type: ignore[arg-type]
    bent = [c for c in inside if c.made is not None and not list(c.module.parameters()) and c.path.count(".") == 1]
    for gate in bent:
        assert gate.made is not None
        for other in (c.made for c in inside if c is not gate and c.made is not None):
            for half in (other, *other.chunk(2, dim=-1)):
                if half.shape == gate.made.shape:
                    made = gate.made * half
                    if any(made.numel() == x.numel() and torch.equal(made.reshape(x.shape), x) for x in last):
                        return [gate.path]
    return []


def _outermost(call: Call, calls: Sequence[Call]) -> Call:
    return next((c for c in calls if c.contains(call)), call)


def _is_attention(call: Call, calls: Sequence[Call]) -> bool:
    words = [call.path.lower(), *(type(c.module).__name__.lower() for c in calls if c.contains(call))]
    return any("attn" in word or "attention" in word for word in words)


def _mixes(call: Call, calls: Sequence[Call]) -> bool:
    """Whether what a token's branch returns depends on other tokens: it is called again with the first row changed."""
    if _is_attention(call, calls):
        return True
    branch = _outermost(call, calls)
    key = stream_key(branch.args, branch.kwargs)
    if key is None:
        return False
    args, kwargs = list(branch.args), dict(branch.kwargs)
    x = args[key] if isinstance(key, int) else kwargs[key]
    changed = x.clone()
    rows = changed.view(-1, changed.shape[-1])
    rows[0] = rows[0].flip(-1) * 2 + 1
    outs = []
    for given in (x, changed):
        if isinstance(key, int):
            args[key] = given.clone()
        else:
            kwargs[key] = given.clone()
        with torch.no_grad():
            out = branch.module(*args, **kwargs)
        out = next(y for y in (out if isinstance(out, tuple) else (out,)) if isinstance(y, Tensor))
        outs.append(out.reshape(rows.shape[0], -1)[1:].float())
    scale = outs[0].abs().amax().clamp_min(1e-30)
    return bool((outs[0] - outs[1]).abs().amax() > 0.02 * scale)


def _same(call: Call, calls: Sequence[Call]) -> list[str]:
    """Paths whose output is the tensor that ``call`` returns, outermost first."""
    assert call.out is not None
    return [c.path for c in calls if c.out is not None and torch.equal(c.out, call.out)]


def _projections(branch: Call, calls: Sequence[Call]) -> list[str]:
    """The linear maps that attention, or an MLP, ends in."""
    found = []
    for call in calls:
        weight = getattr(call.module, "weight", None)
        if not isinstance(weight, Tensor) or weight.dim() != 2 or call.out is None or call.given is None:
            continue
        if branch.out is None or call.out.shape != branch.out.shape:  # an expert sees some of the tokens
            continue
        if _outermost(branch, calls).contains(call) and proportional(call.out, branch.out):
            found.append(call.path)
    return found[-1:]


def proportional(x: Tensor, y: Tensor) -> bool:
    a, b = x.float(), y.float()
    scale = (a * b).sum() / a.pow(2).sum().clamp_min(1e-30)
    return bool(scale.abs() > 1e-6) and _close(y, a * scale, [a * scale])


def _entries(branch: Call, calls: Sequence[Call], stream: Tensor) -> list[str]:
    """The modules whose input is what the MLP reads: the normalised stream, or the stream where no norm is before."""
    normed = [c.out for c in calls if _is_norm(c) and c.out is not None and c.given is not None
              and c.given.shape == stream.shape and torch.equal(c.given, stream)]  # fmt: skip
    reads = [stream, *normed]
    entries = [
        c for c in calls
        if c.given is not None and c.given.shape == stream.shape and not _is_norm(c) and c.begin <= branch.end
        and not _is_attention(c, calls) and any(torch.equal(c.given, x) for x in reads)
    ]  # fmt: skip
    own = [c for c in entries if c.contains(branch)]
    if not entries:
        return []
    first = (own or entries)[0]
    return [c.path for c in own or [first] if torch.equal(c.given, first.given)]  # type: ignore[arg-type]
