"""Edits: what to do with features while a model runs. Each moves an activation along the feature's direction.

An edit is data (it can be sent, stored and shared as JSON); ``Steering`` binds edits to directions and to
a place in the model, and gives what ``Model.run`` writes. Where u is a feature's direction at length 1 (rows of W_dec
of other tools need not be), c its code and p = <x, u> the activation's projection on it, an edit moves x along u by:

    Add       strength              whatever is there
    Clamp     value - c             so that the code becomes the value (Templeton et al. 2024)
    Scale     (factor - 1) c        0 ablates, 1 does nothing
    Project   strength - p          what lay along u goes; the strength comes in its place
    Cap       -max(0, p - limit)    no more than the limit along u

Codes and strengths are in units of the activation: c is the length of what the feature adds to the output there, its
code times the length of its direction, times the token's deviation where a dictionary normalises what it reads. A move
goes to where the feature writes. A feature that writes several sites has one direction over all of them, and each gets
its part; only what is known in time can decide how far: a crosscoder's codes are not, at the first site that it writes.
Positions that hygiene leaves out (a BOS token, attention sinks) are never edited: their activations are tens of times
larger than others' and carry the model's attention.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, ClassVar, Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter
from torch import Tensor

from physalis import artifact, dictionaries
from physalis.dictionaries import Dictionary
from physalis.errors import BadInput
from physalis.models import Model, Write
from physalis.models.hooks import depth
from physalis.placement.origin import Origin
from physalis.placement.place import Place
from physalis.site import Site

LARGEST = 1e9
"""Of an edit's amounts. Activations are shorter than a millionth of what no model could square any more."""
Amount = Annotated[float, Field(allow_inf_nan=False, ge=-LARGEST, le=LARGEST)]
"""How far an edit moves."""


class _Edit(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    feature: int = Field(ge=0)
    needs: ClassVar[Literal["nothing", "code", "along"]] = "nothing"
    """What of the activation decides how far it moves."""


class Add(_Edit):
    kind: Literal["add"] = "add"
    strength: Amount

    def move(self, code: Tensor, along: Tensor) -> Tensor:
        return torch.full_like(along, self.strength)


class Clamp(_Edit):
    kind: Literal["clamp"] = "clamp"
    needs: ClassVar = "code"
    value: Amount

    def move(self, code: Tensor, along: Tensor) -> Tensor:
        return self.value - code


class Scale(_Edit):
    kind: Literal["scale"] = "scale"
    needs: ClassVar = "code"
    factor: Amount = 0.0

    def move(self, code: Tensor, along: Tensor) -> Tensor:
        return (self.factor - 1) * code


class Project(_Edit):
    kind: Literal["project"] = "project"
    needs: ClassVar = "along"
    strength: Amount = 0.0

    def move(self, code: Tensor, along: Tensor) -> Tensor:
        return self.strength - along


class Cap(_Edit):
    kind: Literal["cap"] = "cap"
    needs: ClassVar = "along"
    limit: Amount = 0.0

    def move(self, code: Tensor, along: Tensor) -> Tensor:
        return -(along - self.limit).clamp_min(0)


Edit = Annotated[Add | Clamp | Scale | Project | Cap, Field(discriminator="kind")]
EDITS = TypeAdapter(list[Edit])
"""Reads edits from JSON."""


def parse_edit(text: str) -> Edit:
    """An edit as the command line and addresses write it: ``add:12:40``, ``clamp:12:30``, ``scale:12:0``,
    ``project:12:0``, ``cap:12:5``. Raises BadInput for anything else."""
    kinds = {each.model_fields["kind"].default: each for each in (Add, Clamp, Scale, Project, Cap)}
    kind, _, rest = text.partition(":")
    feature, _, amount = rest.partition(":")
    try:
        amounts = [name for name in kinds[kind].model_fields if name not in ("kind", "feature")]
        return kinds[kind].model_validate({"feature": int(feature), amounts[0]: float(amount)})
    except (KeyError, ValueError) as error:
        raise BadInput(
            f"An edit is KIND:FEATURE:AMOUNT, such as add:12:40 or scale:12:0, its kind one of {', '.join(kinds)}; "
            f"received {text!r}."
        ) from error


def steerable(folder: str | Path, model: Model) -> tuple[Dictionary, Place]:
    """A dictionary on disk, where the model is, and where its features are edited. Raises BadInput if it was trained on
    another model or on several, or if its files do not say where it belongs."""
    manifest = artifact.read(Path(folder), "dictionary")
    place = place_of(Origin.of(manifest), model, folder)
    return dictionaries.load(folder, device=model.device), place


def place_of(origin: Origin, model: Model, folder: str | Path) -> Place:
    """Where in ``model`` the features of the dictionary in ``folder`` are edited. Raises BadInput as ``steerable``."""
    origin.check_model(model)
    if not origin.reads:
        raise BadInput(
            f"{folder} does not say which site it reads, so its features cannot be edited. Convert it again with "
            "--activations of that site."
        )
    return Place.inside(model, origin.reads, origin.writes, origin.rules)


class Steering:
    """Edits bound to directions and to a place; ``edit.feature`` is the direction's index in what they came from."""

    def __init__(
        self,
        edits: Sequence[Edit],
        directions: Float[Tensor, "edits d"],
        place: Place,
        *,
        codes: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        """``directions`` are brought to length 1; where several sites are written, they are over all of these side by
        side. ``codes`` takes activations "tokens d" at the place that is read and gives "tokens edits", in units of the
        activation; where there is no dictionary to ask, a code is the projection as far as it is positive.

        Raises BadInput for an edit whose length is not known when its first site is written."""
        self.edits, self.place = tuple(edits), place
        self.directions = directions.detach().float() / directions.norm(dim=1, keepdim=True).clamp_min(1e-12)
        self.codes = codes or (lambda x: (x @ self.directions.to(x).T).clamp_min(0))
        parts = place.split(self.directions)
        self.parts = [{site: part[i] for site, part in parts.items() if part[i].any()} for i in range(len(self.edits))]
        """For each edit the part of its direction at each site that it writes."""
        for edit, sites in zip(self.edits, self.parts, strict=True):
            if edit.needs == "along" and len(sites) > 1:
                raise BadInput(
                    f"Feature {edit.feature} writes {', '.join(map(str, sites))} at once, and how far a {edit.kind} "
                    "moves would have to be known before all of them are reached. Add a strength instead."
                )

    @classmethod
    def open(cls, folder: str | Path, model: Model, edits: Sequence[Edit]) -> "Steering":
        """Edits of the features of a dictionary on disk, where it was trained. Raises BadInput if that was another
        model, or for a feature that it does not have."""
        dictionary, place = steerable(folder, model)
        return cls.of(dictionary, edits, place)

    @classmethod
    def of(cls, dictionary: Dictionary, edits: Sequence[Edit], place: Place) -> "Steering":
        """Edits of a dictionary's features. Raises BadInput for one that it does not have, and for one that would need
        a code before all that the feature reads has been passed."""
        n = dictionary.config.n_features
        for edit in edits:
            if edit.feature >= n:
                raise BadInput(f"The dictionary has features 0 to {n - 1:,}; received an edit of {edit.feature:,}.")
        device = next(dictionary.parameters()).device
        ids = torch.tensor([edit.feature for edit in edits], dtype=torch.long, device=device)
        rows = dictionary.writes(ids).detach().float()
        lengths = rows.norm(dim=1)

        @torch.no_grad()
        def codes(x: Tensor) -> Tensor:
            found = dictionary.encode(x)
            hit = found.ids[:, :, None] == ids
            return (found.values[:, :, None] * hit).sum(1) * lengths * dictionary.gain(x)

        bound = cls(edits, rows, place, codes=codes)
        read = place.split_reads(dictionary.reads(ids))
        for i, (edit, parts) in enumerate(zip(bound.edits, bound.parts, strict=True)):
            first = min(parts, key=depth, default=None)
            late = [site for site, part in read.items() if part[i].any() and first and depth(site) > depth(first)]
            if edit.needs == "code" and late:
                raise BadInput(
                    f"Feature {edit.feature} reads {late[-1]} and writes {first} before the model gets there, so its "
                    f"code is not known in time for a {edit.kind}. Add a strength instead; what removing it does is "
                    "measured in the atlas, in two passes."
                )
        return bound

    @property
    def bos(self) -> bool:
        """Whether contexts begin with a BOS token, as they did where the dictionary was recorded."""
        return self.place.skip_first

    def writes(self, start: int = 0, *, contexts: slice = slice(None)) -> Mapping[Site, Write]:
        """What ``Model.run`` writes into a pass whose first position is at ``start``, in these of its contexts."""
        if not self.edits:
            return {}
        passing = _Pass(self, start, contexts)
        return {site: _Visit(passing, site) for site in passing.sites}


class _Visit(NamedTuple):
    """What one site is to a pass: a Write that is told of its tokens first."""

    passing: "_Pass"
    site: Site

    def begin(self, tokens: Int[Tensor, "contexts context"]) -> None:
        self.passing.begin(tokens)

    def __call__(self, x: Float[Tensor, "contexts context d"]) -> Float[Tensor, "contexts context d"]:
        return self.passing.visit(self.site, x)


class _Pass:
    """One pass of the model: what was read so far, and which positions are edited."""

    def __init__(self, steering: Steering, start: int, contexts: slice) -> None:
        self.steering, self.start, self.contexts = steering, start, contexts
        place = steering.place
        asks = any(edit.needs == "code" for edit in steering.edits)
        self.writes = {site for parts in steering.parts for site in parts}
        """What an edit of what is read could change is not asked any more: rules hold for the model as it is."""
        wrote = min(map(depth, self.writes), default=(0, 0))
        rules = {site: rule for site, rule in place.hygienes.items() if depth(site) <= wrote}
        self.rules = {site: replace(rule, skip_first=False) for site, rule in rules.items()}
        self.begins: Bool[Tensor, " contexts"] | None = None
        """Whether the first position is a BOS token; None where nobody said: then it is where rules say so."""
        self.reads = set(place.reads) if asks else set()
        self.sites = self.writes | self.reads | set(self.rules)
        self.first = min(self.sites, key=depth, default=None)
        self.got: dict[Site, Float[Tensor, "contexts context _"]] = {}
        self.keep: Bool[Tensor, "contexts context"] | None = None
        self.moves: dict[int, Float[Tensor, " kept"]] = {}

    def begin(self, tokens: Int[Tensor, "contexts context"]) -> None:
        """Look for a BOS token, which a chat template may have put there also where the dictionary's text had none."""
        place, first = self.steering.place, tokens[self.contexts, 0]
        self.begins = None if place.begins is None else first == place.begins

    def visit(self, site: Site, x: Float[Tensor, "contexts context d"]) -> Float[Tensor, "contexts context d"]:
        """Takes what is to be read at a site, and writes there what is to be written."""
        part = x[self.contexts]
        if site == self.first:  # what writes once may write in many passes
            self.got, self.keep, self.moves = {}, None, {}
        if site in self.rules:
            kept = self.rules[site].keep(part)
            self.keep = kept if self.keep is None else self.keep & kept
        if site == self.first and self.start == 0:
            every = torch.ones(part.shape[:2], dtype=torch.bool, device=part.device)
            self.keep = every if self.keep is None else self.keep
            begins = self.steering.place.skip_first if self.begins is None else self.begins.to(part.device)
            self.keep[:, 0] &= ~begins if isinstance(begins, Tensor) else not begins
        if site in self.reads:
            self.got[site] = part.clone() if site in self.writes else part
        if site in self.writes:
            self._move(site, part)  # a view of x, which is the write's own copy
        return x

    def _move(self, site: Site, part: Tensor) -> None:
        keep = torch.ones(part.shape[:2], dtype=torch.bool, device=part.device) if self.keep is None else self.keep
        rows = part[keep].float()
        codes = None
        for i, (edit, parts) in enumerate(zip(self.steering.edits, self.steering.parts, strict=True)):
            if site not in parts:
                continue
            direction = parts[site].to(rows)
            if i not in self.moves:
                if edit.needs == "code" and codes is None:
                    codes = self.steering.codes(self._read(keep))
                code = rows.new_zeros(len(rows)) if codes is None else codes[:, i]
                self.moves[i] = edit.move(code, rows @ direction)
            rows = rows + self.moves[i][:, None] * direction
        part[keep] = rows.to(part.dtype)

    def _read(self, keep: Bool[Tensor, "contexts context"]) -> Float[Tensor, "kept d_in"]:
        """What the dictionary reads; sites that the pass has not reached are 0, and decide no code that is asked."""
        place = self.steering.place
        rows = {site: x[keep].float() for site, x in self.got.items()}
        n, like = int(keep.sum()), next(iter(rows.values()))
        missing = {site: like.new_zeros(n, place.widths[site]) for site in place.reads if site not in rows}
        return place.joined(rows | missing)
