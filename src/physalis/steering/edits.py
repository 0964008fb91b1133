"""Edits: what to do with features while a model runs. Each moves an activation along the feature's direction.

An edit is data (it can be sent, stored and shared as JSON); ``Steering`` binds edits to directions and to
a place in the model, and gives what ``Model.run`` writes. Where u is a feature's direction at length 1 (rows of W_dec
of other tools need not be), c its code and p = <x, u> the activation's projection on it, an edit moves x along u by:

    Add       strength              whatever is there
    Clamp     value - c             so that the code becomes the value (Templeton et al. 2024)
    Scale     (factor - 1) c        0 ablates, 1 does nothing
    Project   strength - p          what lay along u goes; the strength comes in its place
    Cap       -max(0, p - limit)    no more than the limit along u

Codes and strengths are in units of the activation: a code of 10 along a direction of length 1 is a move of length 10.
Positions that hygiene leaves out (a BOS token, attention sinks) are never edited: their activations are tens of times
larger than others' and carry the model's attention.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import torch
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter
from torch import Tensor

from physalis import artifact, dictionaries
from physalis.activations.hygiene import Hygiene
from physalis.artifact import Manifest
from physalis.dictionaries import Linear
from physalis.errors import BadInput
from physalis.models import Model, Write
from physalis.site import Site

Amount = Annotated[float, Field(allow_inf_nan=False, ge=-3.4e38, le=3.4e38)]
"""How far an edit moves: a number that float32 can hold."""


class _Edit(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    feature: int = Field(ge=0)


class Add(_Edit):
    kind: Literal["add"] = "add"
    strength: Amount

    def move(self, code: Tensor, along: Tensor) -> Tensor:
        return torch.full_like(along, self.strength)


class Clamp(_Edit):
    kind: Literal["clamp"] = "clamp"
    value: Amount

    def move(self, code: Tensor, along: Tensor) -> Tensor:
        return self.value - code


class Scale(_Edit):
    kind: Literal["scale"] = "scale"
    factor: Amount = 0.0

    def move(self, code: Tensor, along: Tensor) -> Tensor:
        return (self.factor - 1) * code


class Project(_Edit):
    kind: Literal["project"] = "project"
    strength: Amount = 0.0

    def move(self, code: Tensor, along: Tensor) -> Tensor:
        return self.strength - along


class Cap(_Edit):
    kind: Literal["cap"] = "cap"
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


class Place(NamedTuple):
    """Where a dictionary's features are read and written: the same site, but for a transcoder's."""

    reads: Site
    writes: Site
    hygiene: Hygiene
    """Of ``reads``."""

    @classmethod
    def of(cls, manifest: Manifest) -> "Place":
        """What a dictionary's manifest says. Raises BadInput where it reads or writes several sites, or says none."""
        said = manifest.config
        reads, writes, hygiene = said.get("site"), said.get("writes", said.get("site")), said.get("hygiene")
        if not isinstance(reads, str) or not isinstance(writes, str):
            raise BadInput(
                f"Features are edited at one site; this dictionary reads {reads} and writes {writes}. "
                "Steer with one that was trained on a single site, or convert it with --site."
            )
        if hygiene is not None and "max_norm" not in hygiene:
            hygiene = next(rule for name, rule in hygiene.items() if name.endswith(reads))
        rule = Hygiene(max_norm=float("inf"), skip_first=True) if hygiene is None else Hygiene.from_dict(hygiene)
        return cls(Site.parse(reads), Site.parse(writes), rule)


def steerable(folder: str | Path, model: Model) -> tuple[Linear, Place]:
    """A dictionary on disk and where its features are edited. Raises BadInput if it was trained on another model, or if
    its features have no direction of their own."""
    manifest = artifact.read(Path(folder), "dictionary")
    if manifest.inputs.get("model", model.fingerprint) != model.fingerprint:
        raise BadInput(
            f"{folder} belongs to another model ({manifest.config['model']!r}) than {model.name}: its directions "
            "mean nothing there. Steer the model it was trained on."
        )
    dictionary = dictionaries.load(folder)
    if not isinstance(dictionary, Linear):
        raise BadInput(f"Features of a {type(dictionary).__name__} have no direction of their own to edit along.")
    return dictionary, Place.of(manifest)


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
        """``directions`` are brought to length 1. ``codes`` takes activations "tokens d" at the place that is read and
        gives "tokens edits"; where there is no dictionary to ask, a code is the projection as far as it is positive."""
        self.edits, self.place = tuple(edits), place
        self.directions = directions.detach().float() / directions.norm(dim=1, keepdim=True).clamp_min(1e-12)
        self._codes = codes or (lambda x: (x @ self.directions.to(x).T).clamp_min(0))

    @classmethod
    def open(cls, folder: str | Path, model: Model, edits: Sequence[Edit]) -> "Steering":
        """Edits of the features of a dictionary on disk, where it was trained. Raises BadInput if that was another
        model, or for a feature that it does not have."""
        dictionary, place = steerable(folder, model)
        return cls.of(dictionary, edits, place)

    @classmethod
    def of(cls, dictionary: Linear, edits: Sequence[Edit], place: Place) -> "Steering":
        """Edits of a dictionary's features. Raises BadInput for one that it does not have."""
        n = dictionary.config.n_features
        for edit in edits:
            if edit.feature >= n:
                raise BadInput(f"The dictionary has features 0 to {n - 1:,}; received an edit of {edit.feature:,}.")
        ids = torch.tensor([edit.feature for edit in edits], dtype=torch.long)
        rows = dictionary.writes(ids).detach().float()

        @torch.no_grad()
        def codes(x: Tensor) -> Tensor:
            found = dictionary.encode(x)
            hit = found.ids[:, :, None] == ids.to(found.ids)
            return (found.values[:, :, None] * hit).sum(1) * rows.norm(dim=1).to(found.values)

        return cls(edits, rows, place, codes=codes)

    @property
    def bos(self) -> bool:
        """Whether contexts begin with a BOS token, as they did where the dictionary was recorded."""
        return self.place.hygiene.skip_first

    def writes(
        self, start: int = 0, *, contexts: slice = slice(None), has_bos: bool | None = None
    ) -> Mapping[Site, Write]:
        """What ``Model.run`` writes into a pass whose first position is at ``start``, in these of its contexts.
        ``has_bos`` is whether they begin with a BOS token, which is never edited: ``bos`` unless given."""
        reads, at, hygiene = self.place
        if not self.edits:
            return {}
        hygiene = replace(hygiene, skip_first=start == 0 and (self.bos if has_bos is None else has_bos))
        seen: dict[str, Tensor] = {}

        def listen(x: Tensor) -> Tensor:
            part = x[contexts]
            seen["keep"] = hygiene.keep(part)
            seen["codes"] = self._codes(part[seen["keep"]].float())
            return x

        def move(x: Tensor) -> Tensor:
            part, keep = x[contexts], seen["keep"]
            rows = part[keep].float()
            for i, edit in enumerate(self.edits):
                direction = self.directions[i].to(rows)
                rows = rows + edit.move(seen["codes"][:, i], rows @ direction)[:, None] * direction
            part[keep] = rows.to(x.dtype)  # a view of x, which is the write's own copy
            return x

        if reads == at:
            return {at: lambda x: move(listen(x))}
        return {reads: listen, at: move}
