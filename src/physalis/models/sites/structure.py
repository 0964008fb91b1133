"""structure: finds where an architecture keeps its sites, by numbers: the Family of a model that no row describes.

One pass over a few tokens, with every module's inputs and outputs watched:

1. The blocks are the list whose members run in order, each on what the one before it returned.
2. Inside a block, the parts are the modules whose outputs, each times a number, add up to what the block adds.
3. The part that reads other positions is ``attn_out``, the one that does not is ``mlp_out``; what lies between them in
   the stream, what the MLP reads and what the last projection of attention reads are found by equality.

Names decide only what is a norm and what is attention, which alone has ``z``. ``verification`` then tries what was
found.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor, nn

from physalis.errors import BadInput
from physalis.models.families import PARTS, PLACES, Family, how_to_name
from physalis.models.hooks import has_module, stream_key
from physalis.models.sites.blocks import Call, Places, places, proportional

N_TOKENS = 12
"""Of each of the two texts; the first half is the same in both."""


def find_family(hf: nn.Module, tokens: Tensor) -> Family:
    """The Family of a module, found on token ids "contexts context". Raises BadInput where there is no list of blocks
    with a residual stream, or no unembedding."""
    config: Any = hf.config
    kind: str = config.model_type
    blocks = _blocks(hf, tokens, kind)
    found, ends = _watched(hf, blocks, tokens)
    return Family(model_types=(kind,), blocks=blocks, **_joined(list(_children(hf, blocks)), found), **ends)


def probe(tokenizer: Any, vocab_size: int) -> Int[Tensor, "2 context"]:
    """Token ids of two texts that part in the middle: ordinary tokens from all over the table."""
    special = set(getattr(tokenizer, "all_special_ids", ()))
    known = sorted({i for i in tokenizer.get_vocab().values() if 0 <= i < vocab_size})
    ids = torch.tensor([i for i in known if i not in special] or known)
    places = torch.linspace(0, (len(ids) - 1) * 0.9, N_TOKENS // 2 * 3).long()
    shared, one, other = ids[places].chunk(3)
    return torch.stack([torch.cat([shared, one]), torch.cat([shared, other])])


# the list of blocks


def _children(hf: nn.Module, path: str) -> Iterator[nn.Module]:
    yield from hf.get_submodule(path).children()


def _blocks(hf: nn.Module, tokens: Tensor, kind: str) -> str:
    lists = {path: module for path, module in hf.named_modules() if isinstance(module, nn.ModuleList) and len(module)}
    member = {block: (path, i) for path, blocks in lists.items() for i, block in enumerate(blocks)}
    runs: dict[str, list[tuple[int, Tensor, Tensor]]] = {path: [] for path in lists}

    def ran(module: nn.Module, args: tuple, kwargs: dict[str, Any], out: Any) -> None:
        path, i = member[module]
        before, after = _given(args, kwargs), out[0] if isinstance(out, tuple) else out
        if before is not None and isinstance(after, Tensor):
            runs[path].append((i, before, after.clone()))

    _run(hf, tokens, [block.register_forward_hook(ran, with_kwargs=True) for block in member])
    chains = [path for path in lists if _is_chain(runs[path], len(lists[path]), tokens)]
    if chains:
        return max(chains, key=lambda path: (len(lists[path]), -path.count(".")))
    again = any(len(each) > len({i for i, _, _ in each}) for each in runs.values())
    why = "its blocks run more than once in a pass" if again else "no list of its modules hands one vector a token on"
    raise BadInput(f"The architecture {kind!r} has no residual stream that physalis can follow: {why}. {how_to_name()}")


def _is_chain(runs: Sequence[tuple[int, Tensor, Tensor]], n: int, tokens: Tensor) -> bool:
    if [i for i, _, _ in runs] != list(range(n)):
        return False
    if any(x.dim() != 3 or x.shape[:2] != tokens.shape or x.shape != y.shape for _, x, y in runs):
        return False
    return all(torch.equal(after, before) for (_, _, after), (_, before, _) in zip(runs, runs[1:], strict=False))


def _given(args: tuple, kwargs: Mapping[str, Any]) -> Tensor | None:
    key = stream_key(args, kwargs)
    if key is None:
        return None
    return (args[key] if isinstance(key, int) else kwargs[key]).clone()


def _run(hf: nn.Module, tokens: Tensor, handles: Sequence[Any]) -> Tensor:
    try:
        with torch.no_grad():
            return hf(tokens, use_cache=False).logits
    finally:
        for handle in handles:
            handle.remove()


# what is called in one block


class _Block:
    """Watches one block and finds its places when it returns."""

    def __init__(self, block: nn.Module, n_rows: int) -> None:
        self.block = block
        self.n_rows = n_rows
        self.calls: list[Call] = []
        self.open: dict[nn.Module, Call] = {}
        self.time = 0
        self.seen: Counter[str] = Counter()
        self.pre: Tensor | None = None
        self.places: Places | None = None

    def hooks(self) -> Iterator[Any]:
        yield self.block.register_forward_pre_hook(self.begins, with_kwargs=True)
        names = [
            (n, m) for n, m in self.block.named_modules() if n and not isinstance(m, nn.ModuleList | nn.ModuleDict)
        ]
        for name, module in names:
            yield module.register_forward_pre_hook(
                lambda m, a, k, name=name: self.enters(name, m, a, k), with_kwargs=True
            )
            yield module.register_forward_hook(lambda m, a, k, out: self.leaves(m, out), with_kwargs=True)
        yield self.block.register_forward_hook(self.ends)

    def begins(self, _: nn.Module, args: tuple, kwargs: dict[str, Any]) -> None:
        given = _given(args, kwargs)
        assert given is not None
        self.pre = given.reshape(-1, given.shape[-1])

    def enters(self, name: str, module: nn.Module, args: tuple, kwargs: dict[str, Any]) -> None:
        given = _given(args, kwargs)
        rows = None
        if given is not None and given.numel() and given.numel() % self.n_rows == 0 and given.dim() > 1:
            rows = given.reshape(self.n_rows, -1) if given.numel() // self.n_rows == given.shape[-1] else None
        self.time += 1
        self.seen[name] += 1
        self.open[module] = Call(name, module, args, kwargs, rows, self.time)

    def leaves(self, module: nn.Module, out: Any) -> None:
        call = self.open.pop(module)
        self.time += 1
        call.end = self.time
        first = next((x for x in (out if isinstance(out, tuple) else (out,)) if isinstance(x, Tensor)), None)
        assert self.pre is not None
        call.made = first
        if first is not None and first.shape[-1:] == self.pre.shape[-1:] and first.numel() == self.pre.numel():
            call.out = first.reshape(self.pre.shape).clone()
        self.calls.append(call)

    def ends(self, _: nn.Module, args: tuple, out: Any) -> None:
        assert self.pre is not None
        post = (out[0] if isinstance(out, tuple) else out).reshape(self.pre.shape)
        once = [call for call in self.calls if self.seen[call.path] == 1]
        self.places = places(self.pre, post, sorted(once, key=lambda c: (c.depth, c.begin)))
        self.calls = []


# joining what was found in each block


def _watched(hf: nn.Module, blocks: str, tokens: Tensor) -> tuple[list[Places], dict[str, Any]]:
    watching = [_Block(block, tokens.numel()) for block in _children(hf, blocks)]
    handles = [handle for each in watching for handle in each.hooks()]
    ends = _Ends(hf, watching[-1].block)
    logits = _run(hf, tokens, [*handles, *ends.hooks(blocks)])
    return [each.places or Places() for each in watching], ends.found(logits)


class _Ends:
    """Watches what comes after the last block: the final norm and the unembedding."""

    def __init__(self, hf: Any, last: nn.Module) -> None:
        self.hf = hf
        self.last = last
        self.post: Tensor | None = None
        self.norms: list[tuple[str, Tensor]] = []
        self.head: tuple[Tensor, Tensor] | None = None
        self.unembed: Any = hf.get_output_embeddings() if hasattr(hf, "get_output_embeddings") else None
        if self.unembed is None or getattr(self.unembed, "weight", None) is None:
            kind = hf.config.model_type
            raise BadInput(f"The architecture {kind!r} has no unembedding that transformers names. {how_to_name()}")

    def hooks(self, blocks: str) -> Iterator[Any]:
        yield self.last.register_forward_hook(self.leaves)
        for name, module in self.hf.named_modules():
            if (
                name
                and module is not self.unembed
                and not name.startswith(f"{blocks}.")
                and not list(module.children())
            ):
                yield module.register_forward_hook(lambda m, args, out, name=name: self.normed(name, args, out))
        yield self.unembed.register_forward_hook(self.unembedded)

    def leaves(self, _: nn.Module, args: tuple, out: Any) -> None:
        self.post = (out[0] if isinstance(out, tuple) else out).clone()

    def normed(self, name: str, args: tuple, out: Any) -> None:
        if self.post is not None and args and isinstance(args[0], Tensor) and isinstance(out, Tensor):
            if args[0].shape == self.post.shape and torch.equal(args[0], self.post) and out.shape == self.post.shape:
                self.norms.append((name, out.clone()))

    def unembedded(self, _: nn.Module, args: tuple, out: Tensor) -> None:
        self.head = args[0].clone(), out.clone()

    def found(self, logits: Tensor) -> dict[str, Any]:
        # A norm that reads the last stream and is what the unembedding reads, but for a number.
        assert self.head is not None, "the unembedding never ran"
        read, made = self.head
        for name, out in self.norms:
            if read.shape == out.shape and proportional(out, read):
                return {"final_norm": name, "logit_scale": _ratio(out, read) * _ratio(made, logits)}
        return {"final_norm": None}


def _ratio(x: Tensor, y: Tensor) -> float:
    # From the smaller values: a soft cap leaves those alone.
    a, b = x.cpu().double().reshape(-1), y.cpu().double().reshape(-1)
    order = a.abs().argsort()[len(a) // 20 : len(a) // 5 + 2]
    ratio = float((b[order] / a[order]).median())
    return 1.0 if abs(ratio - 1) < 0.005 else float(f"{ratio:.4g}")


def _joined(blocks: Sequence[nn.Module], found: Sequence[Places]) -> dict[str, Any]:
    """One row for all blocks. Blocks of one kind are alike: what most of them show holds for all of them."""
    kinds: dict[tuple, list[int]] = {}
    for i, block in enumerate(blocks):
        kinds.setdefault(tuple((n, type(m).__name__) for n, m in block.named_modules()), []).append(i)
    seen: list[tuple[nn.Module, Places]] = []
    for members in kinds.values():
        most = Counter(found[i].key() for i in members).most_common(1)[0][0]
        seen.append((blocks[members[0]], next(found[i] for i in members if found[i].key() == most)))
    row: dict[str, Any] = {name: _paths([(b, getattr(p, name)) for b, p in seen]) for name in (*PLACES, *PARTS)}
    for name in ("attn", "mlp"):
        scales = {getattr(p, f"{name}_scale") for _, p in seen if getattr(p, f"{name}_out")}
        row[f"{name}_scale"] = scales.pop() if len(scales) == 1 else 1.0
    return row


def _paths(wanted: Sequence[tuple[nn.Module, Sequence[str]]]) -> str | tuple[str, ...] | None:
    """Paths of which each block has at most those that stand for its place."""
    chosen: list[str] = []
    left = [paths for _, paths in wanted if paths]
    while left:
        fit = [p for paths in left for p in paths if all(p in ps for b, ps in wanted if has_module(b, p))]
        if not fit:
            break
        best = max(dict.fromkeys(fit), key=lambda p: (fit.count(p), -p.count(".")))
        chosen.append(best)
        left = [paths for paths in left if best not in paths]
    return None if not chosen else chosen[0] if len(chosen) == 1 else tuple(chosen)
