"""jobs: the shards of a recording as jobs that anyone can do, in any order, again and again."""

from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch

from physalis.activations import (
    LAYOUT,
    TOKENS,
    Hygiene,
    Shard,
    Span,
    check_spans,
    permuted,
    read_sidecar,
    write_shard,
)
from physalis.artifact import digest, read_json, write_json
from physalis.artifact.kinds import Layout
from physalis.errors import BadInput
from physalis.models import Family, Model, load_model
from physalis.recording.contexts import told
from physalis.recording.forward import Collected, collect
from physalis.runtime.jobs import Job, Write
from physalis.runtime.progress import Advance
from physalis.site import Site


def write_layout(folder: Path, site: Site, hygienes: dict[Site, Hygiene], spans: Sequence[Span]) -> None:
    """Fix in layout.json which contexts each shard holds and the rules by which positions are left out: that of
    ``site``, and where it is recorded beside others those of all."""
    said = {"hygiene": hygienes[site].to_dict(), "spans": [span.to_dict() for span in spans]}
    if len(hygienes) > 1:
        said["hygienes"] = hygienes_to_dict(hygienes)
    write_json(folder / LAYOUT, said)


def read_layout(folder: Path, sites: Sequence[Site], contexts: int) -> tuple[dict[Site, Hygiene], list[Span]] | None:
    """The rule of each of ``sites``, those recorded together, and the spans of all ``contexts`` that layout.json fixes;
    None if it is not there, or damaged."""
    try:
        said = read_json(folder / LAYOUT)
        Layout.model_validate(said)
        rules = said.get("hygienes") or {str(site): said["hygiene"] for site in sites}
        spans = [Span(**span) for span in said["spans"]]
        check_spans(spans, contexts)
        return {site: Hygiene.from_dict(rules[str(site)]) for site in sites}, spans
    except (ValueError, KeyError):
        return None


def hygienes_to_dict(hygienes: dict[Site, Hygiene]) -> dict[str, dict]:
    """The rules of several sites as they are stored."""
    return {str(site): hygiene.to_dict() for site, hygiene in hygienes.items()}


def is_whole(folder: Path, span: Span) -> bool:
    """Whether a shard is done: its sidecar is there and readable, and the file has the size and the header that it
    says."""
    try:
        said = read_sidecar(folder, span)
        shard = Shard.open(folder / span.name, size=said["bytes"])
    except BadInput:
        return False
    return (shard.rows, shard.d) == (said["rows"], len(said["sum"])) and len(said["sum"]) == len(said["sum_squares"])


class Given:
    """A model for jobs: in this process the very one that was given, in another the same, loaded anew by its name."""

    def __init__(self, model: Model) -> None:
        self._model = model

    def __call__(self) -> Model:
        return self._model

    def __reduce__(self) -> tuple:
        model = self._model
        loading = (model.name, str(model.device), model.dtype, model.family, model.fingerprint, model.trusts_code)
        return partial, (_loaded, *loading)  # when a job asks for it


@cache
def _loaded(
    name: str, device: str, dtype: torch.dtype, family: Family, fingerprint: str, trust_code: bool
) -> Model:  # fmt: skip
    model = load_model(name, device=device, dtype=dtype, family=family, trust_code=trust_code)
    if model.fingerprint != fingerprint:
        raise BadInput(
            f"The model named {name!r} is not the one given: workers load it anew, and its weights differ. "
            "Save the changed model to a folder and load it from there, or record with workers=1."
        )
    return model


def shard_jobs(
    model: Model, hygienes: dict[Site, Hygiene], folders: Sequence[Path], spans: Sequence[Span], *,
    batch: int, seed: int,
) -> list[Job]:  # fmt: skip
    """A job for each span: its shards, in each site's folder that lacks them. The folders' corpus is written, and
    workers raise BadInput if they cannot load this very model by its name."""
    context = np.load(folders[0] / TOKENS, mmap_mode="r").shape[1]
    said = told(folders[0])
    assert said is not None, "the recorder writes it first"
    inputs = {"model": model.fingerprint, "tokens": said["files"][TOKENS]}
    settings = {"hygienes": hygienes_to_dict(hygienes), "batch": batch, "seed": seed}
    make = partial(_compute, Given(model), hygienes, folders, batch=batch, seed=seed)
    return [
        Job(
            name=span.name,
            inputs=inputs | {"settings": digest(settings | span.to_dict())},
            size=(span.stop - span.start) * context,
            done=partial(_are_whole, folders, span),
            run=partial(make, span),
        )
        for span in spans
    ]


def _are_whole(folders: Sequence[Path], span: Span) -> bool:
    return all(is_whole(folder, span) for folder in folders)


def _compute(
    model: Callable[[], Model], hygienes: dict[Site, Hygiene], folders: Sequence[Path], span: Span, advance: Advance, *,
    batch: int, seed: int,
) -> Write:  # fmt: skip
    ids = np.load(folders[0] / TOKENS, mmap_mode="r")
    found = collect(model(), hygienes, ids, span, batch=batch, advance=advance)
    return partial(_write, folders, span, found, seed)


def _write(folders: Sequence[Path], span: Span, found: list[Collected], seed: int) -> None:
    # numpy throughout: torch here would start threads that fight those of the forward pass.
    for folder, one in zip(folders, found, strict=True):
        if not is_whole(folder, span):
            shuffled = permuted(one.shard.x, one.shard.at, seed=seed, number=span.number)
            write_shard(folder / span.name, folder / span.sidecar, shuffled, dropped=one.dropped)
