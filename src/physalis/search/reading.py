"""reading: Reader, from text to the features that fire on each of its tokens; Reading, what it found in one text.

What is read is what a recording would have stored: the same BOS token first where the dictionary's text had one, the
same positions left out by the same rule of hygiene, activations rounded by it as they are in shards. So a text
that an atlas shows gets the codes that the atlas shows.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int, Int64
from torch import Tensor

from physalis import artifact, dictionaries
from physalis.activations import Hygiene
from physalis.dictionaries import Dictionary
from physalis.errors import BadInput
from physalis.models import Model
from physalis.models.text.prompting import begin
from physalis.placement.origin import Origin
from physalis.runtime.cancellation import check_interrupted
from physalis.site import Site
from physalis.types import Codes

POSITIONS = 8192
"""Positions, padding included, that go through the model at once where there are several texts."""

AT_ONCE = 1 << 26
"""Codes of all features that are computed at once, of the rows of a pass: 256 MB."""

BOS, SINK = "bos", "sink"
"""Why hygiene leaves a position out: it is the BOS token that starts a context, or its norm is out of all proportion
(an attention sink)."""


class Summed(NamedTuple):
    """The features that fire on a text, by rising id, each with sums over its tokens."""

    ids: Int64[np.ndarray, " fired"]
    peak: Float32[np.ndarray, " fired"]
    """Its largest code."""
    at: Int64[np.ndarray, " fired"]
    """The position of that code, the first where several are as large."""
    total: Float[np.ndarray, " fired"]
    """Its codes added up, float64."""
    tokens: Int64[np.ndarray, " fired"]
    """On how many tokens it fires."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One text as a dictionary sees it, token by token."""

    text: str
    ids: list[int]
    """Token ids, with the BOS token first where the dictionary's text had one."""
    tokens: list[str]
    """The same as a person would read them, characters that they cut whole: ``characters.in_text``."""
    left_out: list[str | None]
    """For each position why hygiene leaves it out, "bos" or "sink"; None where it is kept."""
    codes: Codes
    """[tokens, k], float32 on the CPU. Positions that are left out have none."""
    n_features: int
    """Of the dictionary."""

    @property
    def n_kept(self) -> int:
        """Positions that hygiene keeps."""
        return sum(why is None for why in self.left_out)

    def of(self, feature: int) -> Float[Tensor, " tokens"]:
        """One feature's code at every token; 0 where it is silent or the position is left out. Raises BadInput for an
        id that the dictionary does not have."""
        if not 0 <= feature < self.n_features:
            raise BadInput(
                f"There is no feature {feature}: this dictionary has {self.n_features:,}, from 0 to "
                f"{self.n_features - 1}."
            )
        return (self.codes.values * (self.codes.ids == feature)).sum(1)

    def strongest(self, n: int) -> list[list[tuple[int, float]]]:
        """For each token its ``n`` largest codes at most, as (feature, code), the largest first."""
        k = min(n, self.codes.values.shape[1])
        values, places = self.codes.values.topk(k, dim=1)
        ids = self.codes.ids.gather(1, places)
        rows = zip(ids.tolist(), values.tolist(), strict=True)
        return [[(i, v) for i, v in zip(*row, strict=True) if v > 0] for row in rows]

    def summed(self) -> Summed:
        """Every feature that fires on the text, with its peak, its sum and on how many tokens it fires."""
        values = self.codes.values.numpy()
        at, column = np.nonzero(values > 0)
        code = values[at, column]
        ids, which = np.unique(self.codes.ids.numpy()[at, column].astype(np.int64), return_inverse=True)
        total = np.bincount(which, code.astype(np.float64), minlength=len(ids))
        tokens = np.bincount(which, minlength=len(ids))
        order = np.lexsort((at, -code, which))  # by feature, its largest code first
        first = order[np.searchsorted(which[order], np.arange(len(ids)))]
        return Summed(ids, code[first].astype(np.float32), at[first], total, tokens)


class Reader:
    """Reads any text with a model and a dictionary of one of its sites. Not safe to share between threads: a model has
    one forward pass at a time."""

    def __init__(
        self,
        model: Model,
        dictionary: Dictionary,
        site: Site | Sequence[Site],
        hygiene: Hygiene | Mapping[Site, Hygiene],
        *,
        longest: int | None = None,
        hash: str | None = None,
    ) -> None:
        """``site`` is where the dictionary reads; several, where it reads them side by side. ``hygiene`` is the rule of
        that site, or those of every site that was recorded with it: a position is kept where all of them keep it.
        ``longest`` bounds a text, in tokens with its BOS token; the model's context unless given. ``hash`` is that of
        the dictionary's manifest, by which an atlas knows it. The dictionary is moved to the model's device.

        Raises BadInput if the model has no such site, or the dictionary is of another width.
        """
        self.sites = [site] if isinstance(site, Site) else list(site)
        self.hygienes = {self.sites[0]: hygiene} if isinstance(hygiene, Hygiene) else dict(hygiene)
        for each in {*self.sites, *self.hygienes}:
            model.check(each)
        width = sum(model.width(each) for each in self.sites)
        if dictionary.config.d_in != width:
            raise BadInput(
                f"The dictionary reads rows of {dictionary.config.d_in} numbers; {', '.join(map(str, self.sites))} of "
                f"{model.name} has {width}. Give the site and the model that it was trained on."
            )
        self.model = model
        self.dictionary = dictionary.to(model.device)
        self.hash = hash
        self.bos = any(rule.skip_first for rule in self.hygienes.values())
        limits = [limit for limit in (longest, model.longest) if limit is not None]
        self.longest = min(limits) if limits else None
        """Tokens that a text may have, its BOS token included; None where neither the model nor anyone says."""

    @classmethod
    def open(
        cls, dictionary: Path | str, model: Model, *, hygiene: Hygiene | None = None, longest: int | None = None
    ) -> "Reader":
        """A reader for the dictionary in a folder, by what its manifest says of where it belongs.

        ``hygiene`` is for a dictionary that was converted from another tool's files without activations, and so does
        not say which positions to leave out. Raises BadInput if the folder holds no dictionary, if it was trained on
        another model or tokenizer, or on several, or if it says neither its site nor its hygiene.
        """
        folder = Path(dictionary)
        about = artifact.read(folder, "dictionary")
        origin = Origin.of(about)
        origin.check_model(model)
        if not origin.reads:
            raise BadInput(
                f"{folder} does not say which site it reads. Convert it again with --activations of that site, or make "
                "a Reader(model, dictionary, site, hygiene) of your own."
            )
        if hygiene is None and not origin.hygienes:
            raise BadInput(
                f"{folder} does not say which positions to leave out: it was converted without activations. Convert it "
                "again with --model or --activations, or give hygiene=Hygiene(max_norm=..., skip_first=...)."
            )
        unsaid = [role for role in ("model", "tokenizer") if role not in about.inputs]
        if unsaid:
            print(
                f"The dictionary was converted and does not say its {' and '.join(unsaid)}: that it belongs to "
                f"{model.name} is taken on trust. Convert it with --model to have that checked.",
                file=sys.stderr,
            )
        rules = {origin.reads[0]: hygiene} if hygiene is not None else origin.rules
        dictionary_ = dictionaries.load(folder, device=model.device)
        return cls(model, dictionary_, origin.reads, rules, longest=longest, hash=about.hash)

    def __repr__(self) -> str:
        n = self.dictionary.config.n_features
        return f"Reader({self.model.name!r}, {', '.join(map(str, self.sites))}, {n:,} features)"

    @property
    def n_features(self) -> int:
        """Of the dictionary."""
        return self.dictionary.config.n_features

    def read(self, texts: Sequence[str]) -> list[Reading]:
        """What fires on each of ``texts``, in their order. Texts of like length go through the model together.

        Raises BadInput for a text without a token, and for one longer than ``longest``.
        """
        encoded = [self._begun(number, ids) for number, ids in enumerate(self.model.encode(texts))]
        found: dict[int, Reading] = {}
        for some in _batches([len(ids) for ids in encoded]):
            for i, reading in zip(some, self._pass([texts[i] for i in some], [encoded[i] for i in some]), strict=True):
                found[i] = reading
        return [found[i] for i in range(len(texts))]

    def token(self, text: str) -> int:
        """The id of the token that ``text`` is, spaces included. Raises BadInput if it is several, or none."""
        (ids,) = self.model.encode([text])
        if len(ids) != 1:
            pieces = " + ".join(map(repr, self.model.token_strings(ids))) or "nothing"
            raise BadInput(
                f"{text!r} is not one token of {self.model.name}: it is {pieces}. Give one of these; a space before a "
                "word belongs to its token."
            )
        return ids[0]

    def _begun(self, number: int, ids: list[int]) -> list[int]:
        whole = begin(self.model, ids, bos=self.bos)
        if not ids:
            raise BadInput(f"Text {number + 1} is empty. Give at least one word.")
        if self.longest is not None and len(whole) > self.longest:
            raise BadInput(
                f"Text {number + 1} has {len(whole):,} tokens; at most {self.longest:,} can be read at once. Shorten "
                "it, or give its parts one by one."
            )
        return whole

    @torch.no_grad()
    def _pass(self, texts: Sequence[str], encoded: Sequence[list[int]]) -> list[Reading]:
        lengths = torch.tensor([len(ids) for ids in encoded])
        width = int(lengths.max())
        # Any token pads: attention is causal, so what stands to the right changes nothing to its left.
        rows = torch.tensor([[*ids, *[ids[-1]] * (width - len(ids))] for ids in encoded])
        found = self.model.run(rows, read={*self.sites, *self.hygienes})
        keep = torch.stack([rule.keep(found[site]) for site, rule in self.hygienes.items()]).all(0)
        keep &= (torch.arange(width) < lengths[:, None]).to(keep.device)
        rounded = Hygiene(max_norm=torch.inf, skip_first=False).rounded
        rules = {site: rule.rounded for site, rule in self.hygienes.items()}
        x = torch.cat([rules.get(site, rounded)(found[site][keep]) for site in self.sites], dim=-1)
        codes = self._spread(x, keep)
        kept = keep.cpu()
        return [
            Reading(
                text=text,
                ids=ids,
                tokens=self.model.text_strings(ids),
                left_out=self._reasons(kept[i, : len(ids)]),
                codes=Codes(codes.values[i, : len(ids)].contiguous(), codes.ids[i, : len(ids)].contiguous()),
                n_features=self.n_features,
            )
            for i, (text, ids) in enumerate(zip(texts, encoded, strict=True))
        ]

    def _spread(self, x: Float[Tensor, "kept d"], keep: Bool[Tensor, "texts width"]) -> "_Padded":
        """The codes of the kept rows at their places, on the CPU."""
        if not len(x):
            return _Padded(torch.zeros(*keep.shape, 1), torch.zeros(*keep.shape, 1, dtype=torch.int64))
        found = [self._encode(some) for some in x.split(max(1, AT_ONCE // self.n_features))]
        shape = (*keep.shape, max(each.values.shape[1] for each in found))
        values, ids = torch.zeros(shape), torch.zeros(shape, dtype=torch.int64)
        row, place = keep.cpu().nonzero(as_tuple=True)
        done = 0
        for each in found:
            n, k = each.values.shape
            some = row[done : done + n], place[done : done + n]
            values[some[0], some[1], :k], ids[some[0], some[1], :k] = each
            done += n
        return _Padded(values, ids)

    def _encode(self, x: Float[Tensor, "some d"]) -> Codes:
        check_interrupted()
        found = self.dictionary.encode(x)
        return Codes(found.values.float().cpu(), found.ids.long().cpu())

    def _reasons(self, kept: Bool[Tensor, " tokens"]) -> list[str | None]:
        reasons: list[str | None] = [None if each else SINK for each in kept.tolist()]
        if self.bos:
            reasons[0] = BOS
        return reasons


class _Padded(NamedTuple):
    """Codes of several texts, side by side."""

    values: Float32[Tensor, "texts width k"]
    ids: Int[Tensor, "texts width k"]


def _batches(lengths: Sequence[int]) -> list[list[int]]:
    """Indices of texts that go through the model together: like lengths, so that little of it is padding."""
    batches: list[list[int]] = []
    for i in sorted(range(len(lengths)), key=lengths.__getitem__):
        if batches and (len(batches[-1]) + 1) * lengths[i] <= POSITIONS:
            batches[-1].append(i)
        else:
            batches.append([i])
    return batches
