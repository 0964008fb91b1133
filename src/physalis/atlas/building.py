"""build_atlas: everything an atlas tells, from one pass over the stored activations, in bounded memory.

1. Encode every stored token once and keep the codes on disk, by token and by feature (see firings).
2. Directions alone: nearest features, effects on the logits, the map (see effects and layout).
3. Feature by feature with all of its firings at hand: counts, examples, co-firing (see counting and examples).
4. The model, edited: what the most striking features do, and what they depend on (see causes).
5. Write atlas.db, drop the codes, write the manifest.

A build that is stopped goes on with the first segment of codes, or the first few causes, that are missing; it gives
the same bytes.
"""

import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np
import torch

from physalis import __version__, artifact, dictionaries
from physalis.activations import Activations
from physalis.artifact import Manifest
from physalis.atlas.atlas import Atlas
from physalis.atlas.causes import measure, ranked
from physalis.atlas.effects import Effects, direct_effects, nearest_directions, no_effects
from physalis.atlas.firings import Coded, Firings, group, write_segments
from physalis.atlas.layout import lay_out
from physalis.atlas.pages import PageShape
from physalis.atlas.profiles import WORKERS, Text, profiles
from physalis.atlas.records import Baseline, Causes, Estimate, Histogram, Summary
from physalis.atlas.rows import FeatureRows, Strings
from physalis.atlas.store import DATABASE, StoreWriter
from physalis.atlas.subject import Picks, Subject, can_edit
from physalis.atlas.wording import region_names, striking
from physalis.dictionaries import Linear
from physalis.errors import BadInput
from physalis.metrics import (
    Firing,
    Ratio,
    Reconstruction,
    Sums,
    dead_fraction,
    dense_fraction,
    fvu,
    log_density_histogram,
    share_estimate,
)
from physalis.models import Model
from physalis.progress import progress
from physalis.site import Site
from physalis.types import Codes

FIRINGS = "firings"
"""Folder of codes inside the atlas while it is built."""

CAUSES = "causes"
"""Folder of what was measured so far, likewise."""

CHUNK = 4096
"""Tokens encoded at a time."""

MEASURED = 8
"""One chunk in so many is decoded to measure fvu, and of that every fourth token: decoding all would cost as much as
encoding. A shard's rows are in random order, so these are a fair sample of its contexts."""

GRAPH = 16
"""Nearest features that the map joins each feature to."""

WRITES_TO_RESIDUAL = ("embed", "resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out")


def build_atlas(
    dictionary: Path | str,
    activations: Path | str,
    model: Model,
    out: Path | str,
    *,
    evaluation: Path | str | None = None,
    top: int = 16,
    intervals: int = 6,
    per_interval: int = 5,
    before: int = 32,
    after: int = 16,
    causes: int = 24,
    seed: int = 0,
) -> Atlas:
    """Build the atlas of a trained dictionary over stored activations, and open it.

    Each feature gets ``top`` examples of its largest codes and ``per_interval`` from each of ``intervals`` equal
    intervals of code, with up to ``before`` and ``after`` tokens of text around the firing. ``evaluation`` is the
    folder of the dictionary's evaluation on held-out text; without one the summary is measured on the atlas's text.

    ``causes`` is for how many features the model is edited, the most striking first, to see what they do and what they
    depend on: each costs the model about as much as reading 1,500 tokens. 0 leaves it alone.

    Run again after a kill, it goes on where it stopped and gives the same bytes; a finished atlas is only opened.
    Raises BadInput if the three do not belong together, or if ``out`` holds something else.
    """
    if causes < 0:
        raise BadInput(f"causes counts features, from 0 for none; received {causes}.")
    out = Path(out)
    stored = Activations.open(activations)
    coder = dictionaries.load(dictionary)
    if not isinstance(coder, Linear):
        raise BadInput(f"An atlas needs one direction for each feature, which {type(coder).__name__} does not have.")
    trained = artifact.read(Path(dictionary), "dictionary")
    evaluated = artifact.read(Path(evaluation), "evaluation") if evaluation is not None else None
    _check(stored, trained, evaluated, model)
    shape = PageShape(
        top=top, intervals=intervals, per_interval=per_interval, before=before, after=after,
        tokens=16, effects=12, neighbours=12, bins=40, token_bytes=2 if model.vocab_size < 1 << 16 else 4,
    )  # fmt: skip
    inputs = {"activations": stored.manifest.hash, "dictionary": trained.hash, "model": model.fingerprint}
    inputs |= {"evaluation": evaluated.hash} if evaluated else {}
    job = {"shape": asdict(shape), "seed": seed, "inputs": inputs} | ({"causes": causes} if causes else {})
    with artifact.claim(out, "atlas", job) as done:
        if done is None:
            if not (out / DATABASE).exists():
                firings = _encode(coder, stored, out / FIRINGS, model.device)
                summary = _summary(stored, trained, evaluated, firings, Path(dictionary).resolve().name)
                subject = _subject(coder, stored, trained, model)
                edit = None
                if subject is not None and causes:
                    edit = partial(measure, subject, n=causes, folder=out / CAUSES, seed=seed)
                write = partial(
                    _write, firings=firings, coder=coder, stored=stored, model=model, summary=summary, shape=shape,
                    edit=edit, seed=seed,
                )  # fmt: skip
                artifact.write_atomic(out / DATABASE, write)
            for folder in (FIRINGS, CAUSES):
                shutil.rmtree(out / folder, ignore_errors=True)
            facts = {"n_features": coder.config.n_features, "bytes": (out / DATABASE).stat().st_size}
            about = {"shape": asdict(shape), "site": str(stored.site), "causes": causes}
            made = Manifest(kind="atlas", config=about, seed=seed, inputs=inputs, facts=facts)
            artifact.finish(out, made, [DATABASE])
    return Atlas.open(out)


def _check(stored: Activations, trained: Manifest, evaluated: Manifest | None, model: Model) -> None:
    stored.require(model)
    if trained.inputs.get("model") != model.fingerprint or trained.config["site"] != str(stored.site):
        raise BadInput(
            f"The dictionary was trained at {trained.config['site']} of {trained.config.get('model')!r}; these are "
            f"activations of {stored.site} of {model.name!r}. Give the activations of the site it was trained at."
        )
    if evaluated is not None and evaluated.inputs.get("dictionary") != trained.hash:
        raise BadInput("The evaluation is of another dictionary. Evaluate this one, or leave the evaluation out.")


def _subject(coder: Linear, stored: Activations, trained: Manifest, model: Model) -> Subject | None:
    """The dictionary in its place, if what it writes can be taken away there: not where it writes several sites."""
    writes = trained.config.get("writes", str(stored.site))
    if not isinstance(writes, str) or not can_edit(stored.site, Site.parse(writes)):
        return None
    return Subject(model, coder, stored.site, Site.parse(writes), stored.hygiene)


def _encode(coder: Linear, stored: Activations, folder: Path, device: torch.device) -> Firings:
    """The codes of every stored token."""
    coder.to(device)
    sizes = group([shard["rows"] for shard in stored.manifest.facts["shards"]])

    def read(start: int) -> Iterator[Coded]:
        seen = 0
        for number, (x, at) in enumerate(stored.ordered(CHUNK)):
            seen += len(x)
            if seen <= start:
                continue
            x = x.to(device)
            codes = coder.encode(x)
            measured = np.empty((0, 3))
            if number % MEASURED == 0:
                few = Codes(*(part[::4].contiguous() for part in codes))
                measured = _measure(coder, x[::4], few, at[::4], stored)
            yield Coded(codes.values.float().cpu().numpy(), codes.ids.cpu().numpy(), at.numpy(), measured)
            advance(len(x))

    with torch.no_grad(), progress("encode", stored.n_tokens, "tokens") as advance:
        write_segments(folder, coder.config.n_features, sizes, read)
    return Firings(folder, coder.config.n_features, len(sizes))


def _measure(coder: Linear, x: torch.Tensor, codes: Codes, at: torch.Tensor, stored: Activations) -> np.ndarray:
    """[tokens, 3]: each token's context, and its two shares of fvu."""
    y = x.float()
    ratio = fvu(Reconstruction(y, coder.decode(codes), codes, stored.mean.to(y.device)))
    return torch.stack([(at // stored.context).double(), ratio.num.cpu().double(), ratio.den.cpu().double()], 1).numpy()


def _write(
    path: Path, firings: Firings, coder: Linear, stored: Activations, model: Model, summary: Summary, shape: PageShape,
    edit: Callable[..., dict[int, Causes]] | None, seed: int,
) -> None:  # fmt: skip
    n = firings.n_features
    living = firings.n_fired > 0
    with ThreadPoolExecutor(WORKERS) as pool, StoreWriter(path, shape) as store:
        directions = coder.W_dec.detach().float()
        nearest = nearest_directions(directions, torch.from_numpy(living).to(directions.device), n=GRAPH)
        effects = _effects(directions, stored.site, model, shape, pool)
        # Beside the profiles, not the products: those want every core at once.
        layout = pool.submit(lay_out, directions.cpu().numpy(), living, nearest.ids, nearest.cosine, seed=seed)
        text = _text(firings, stored)
        strings = Strings(model.pieces)
        strings.learn(np.unique(text.tokens))
        rows = FeatureRows(n, strings, text.share)
        picks = Picks(n, shape, text)
        with progress("describe", n, "features") as advance:
            for part in profiles(firings, text, shape, nearest, effects, seed=seed, pool=pool):
                store.pages(part.packed)
                rows.add(part, effects.kurtosis)
                picks.add(part)
                advance(len(part.pages))
        place = layout.result()
        columns = rows.columns | {
            "density": firings.n_fired / firings.n_tokens, "n_fired": firings.n_fired,
            "logit_kurtosis": effects.kurtosis, "nearest_cosine": nearest.cosine[:, 0],
            "x": place.x, "y": place.y, "region": place.region,
        }  # fmt: skip
        first = striking(columns, rows.headlines)
        if edit is not None:
            store.causes(edit(picks, ranked(columns, first), effects.promoted, text.share))
        store.finish(
            columns=columns,
            headlines=rows.headlines,
            snippets=rows.snippets,
            words=rows.words,
            pieces=rows.strings.pieces,
            summary=summary.model_copy(update={"striking": first}),
            regions=region_names(place.region, rows.telling, rows.telling_share, rows.strings.known),
        )


def _text(firings: Firings, stored: Activations) -> Text:
    # A plain view: the kernels are compiled for arrays, not for numpy's class of mapped ones.
    tokens, documents = (np.asarray(part).reshape(-1) for part in (stored.tokens, stored.documents))
    counts = np.zeros(int(tokens.max()) + 1, np.int64)
    for at, _ in firings.by_token():
        counts += np.bincount(tokens[at], minlength=len(counts))
    lead = 1 if stored.hygiene.skip_first else 0
    return Text(tokens, documents, stored.context, lead, counts / max(1, counts.sum()))


def _effects(directions: torch.Tensor, site: Site, model: Model, shape: PageShape, pool: Executor) -> Effects:
    if site.name not in WRITES_TO_RESIDUAL or directions.shape[1] != model.d_model:
        return no_effects(len(directions), n=shape.effects, bins=shape.bins)
    unembedding = model.unembedding().to(directions.device)
    with torch.no_grad():
        return direct_effects(directions, unembedding, n=shape.effects, bins=shape.bins, pool=pool)


def _summary(
    stored: Activations, trained: Manifest, evaluated: Manifest | None, firings: Firings, name: str
) -> Summary:
    config, recorded = trained.config["dictionary"], stored.manifest
    fired = Firing(torch.from_numpy(firings.n_fired), firings.n_tokens)
    edges, counts = log_density_histogram(fired)
    said = evaluated.facts if evaluated else {"metrics": _metrics(stored, firings, fired), "baselines": []}
    return Summary(
        name=name,
        model=recorded.config["model"],
        site=str(stored.site),
        architecture=trained.config["architecture"],
        n_features=firings.n_features,
        k=config["k"],
        d_in=config["d_in"],
        n_tokens=firings.n_tokens,
        n_trained=trained.facts.get("n_tokens"),
        text=_text_name(recorded.config["text"]),
        metrics={name: Estimate(**value) for name, value in said["metrics"].items()},
        held_out=evaluated is not None,
        baselines=[Baseline.model_validate(baseline) for baseline in said["baselines"]],
        left_out=recorded.facts["dropped"],
        density_histogram=Histogram(edges=edges, counts=counts),
        n_dead=int((firings.n_fired == 0).sum()),
        striking=[],
        provenance={
            "physalis": __version__, "activations": recorded.hash, "dictionary": trained.hash, **recorded.inputs,
        },
    )  # fmt: skip


def _metrics(stored: Activations, firings: Firings, fired: Firing) -> dict[str, dict[str, float]]:
    """Measured on the text of the atlas itself, of which most was trained on."""
    unexplained, active = Sums(len(stored.tokens)), Sums(len(stored.tokens))
    context, num, den = torch.from_numpy(firings.measured).T
    unexplained.add(Ratio(num, den), context.long())
    for at, count in firings.by_token():
        number = torch.from_numpy(count)
        active.add(Ratio(number, torch.ones_like(number)), torch.from_numpy(at) // stored.context)
    return {
        "fvu": unexplained.estimate(), "l0": active.estimate(),
        "dead_fraction": share_estimate(dead_fraction(fired)), "dense_fraction": share_estimate(dense_fraction(fired)),
    }  # fmt: skip


def _text_name(text: dict[str, str]) -> str:
    """What a recording's text is called."""
    if text["name"] == "stdlib":
        return f"the library of Python {text['python']}"
    return text["name"]
