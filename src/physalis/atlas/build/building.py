"""build_atlas: everything an atlas tells, from one pass over the stored activations, in bounded memory.

1. Encode every stored token once and keep the codes on disk, by token and by feature (see codes), or read those that
   were kept before. What the dictionary predicts, which is what it reads unless it writes another site, is rebuilt on
   a sample to measure how well.
2. Directions alone: nearest features, effects on the logits, the map (see effects and layout).
3. Feature by feature with all of its firings at hand: counts, examples, co-firing (see counting and examples).
4. The model, edited: what the most striking features do, and what they depend on (see causes).
5. Write atlas.db, drop the codes, write the manifest.

A build that is stopped goes on with the first segment of codes, or the first few causes, that are missing; it gives
the same bytes.
"""

import shutil
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np
import torch

from physalis import __version__, artifact, dictionaries
from physalis.activations import Stored
from physalis.artifact import Manifest
from physalis.atlas.atlas import Atlas
from physalis.atlas.build.effects import Effects, direct_effects, nearest_directions, no_effects, to_the_logits
from physalis.atlas.build.examples import SAME
from physalis.atlas.build.layout import lay_out
from physalis.atlas.build.profiles import WORKERS, Text, profiles
from physalis.atlas.build.rows import FeatureRows, Strings
from physalis.atlas.feature_pages import PageShape
from physalis.atlas.headlines import region_names, striking
from physalis.atlas.interventions.attached import Attached, Picks
from physalis.atlas.interventions.causes import measure, ranked
from physalis.atlas.records import Baseline, Causes, Estimate, Histogram, Summary
from physalis.atlas.schema import DATABASE, StoreWriter
from physalis.codes import Segments, StoredCodes, write_codes
from physalis.codes.stored import check_places
from physalis.dictionaries import Linear
from physalis.errors import BadInput
from physalis.metrics import (
    Firing,
    Interval,
    Ratio,
    Sums,
    dead_fraction,
    dense_fraction,
    log_density_histogram,
    share_estimate,
)
from physalis.models import Model
from physalis.placement.origin import Origin, Recordings, recorded
from physalis.placement.place import Place
from physalis.runtime.progress import progress

FIRINGS = "firings"
"""Folder of codes inside the atlas while it is built."""

CAUSES = "causes"
"""Folder of what was measured so far, likewise."""

GRAPH = 16
"""Nearest features that the map joins each feature to."""


def build_atlas(
    dictionary: Path | str,
    activations: Recordings,
    model: Model,
    out: Path | str,
    *,
    writes: Recordings | None = None,
    codes: Path | str | None = None,
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

    ``activations`` are of what the dictionary reads, several folders where it reads several sites. ``writes`` are of
    what a transcoder predicts; those that were recorded with the activations and stand beside them are found. ``codes``
    is the folder that ``encode`` wrote of both: then nothing is encoded again, and the atlas is the same. What features
    do to the model is said, and measured, of the sites that they write.

    Each feature gets ``top`` examples of its largest codes and ``per_interval`` from each of ``intervals`` equal
    intervals of code, with up to ``before`` and ``after`` tokens of text around the firing, or the whole picture that
    it is in. ``evaluation`` is the folder of the dictionary's evaluation; without one the summary's FVU and L0 are
    measured here, on the held-out part of the activations where there is one.

    ``causes`` is for how many features the model is edited, the most striking first, to see what they do and what they
    depend on: each costs the model about as much as reading 1,500 tokens. 0 leaves it alone.

    Run again after a kill, it goes on where it stopped and gives the same bytes; a finished atlas is only opened.
    Raises BadInput if dictionary, activations, codes and model do not belong together, if the dictionary is of several
    models, or if ``out`` holds something else.
    """
    if causes < 0:
        raise BadInput(f"causes counts features, from 0 for none; received {causes}.")
    out = Path(out)
    trained = artifact.read(Path(dictionary), "dictionary")
    evaluated = artifact.read(Path(evaluation), "evaluation") if evaluation is not None else None
    if evaluated is not None and evaluated.inputs.get("dictionary") != trained.hash:
        raise BadInput("The evaluation is of another dictionary. Evaluate this one, or leave the evaluation out.")
    Origin.of(trained).check_model(model)
    stored = recorded(trained, activations, writes)
    stored.require(model)
    given = None if codes is None else StoredCodes.open(codes)
    if given is not None:
        given.require(trained, stored)
    place = Place.of(stored.parts, model)
    coder = dictionaries.load(dictionary, device=model.device)
    before, after = model.corpus.around(before, after)
    shape = PageShape(
        top=top, intervals=intervals, per_interval=per_interval, before=before, after=after,
        tokens=16, effects=12, neighbours=12, bins=40, token_bytes=2 if model.vocab_size < 1 << 16 else 4,
    )  # fmt: skip
    inputs = {"activations": stored.inputs["activations"], "dictionary": trained.hash, "model": model.fingerprint}
    inputs |= {"evaluation": evaluated.hash} if evaluated else {}
    job = {"shape": asdict(shape), "seed": seed, "inputs": inputs} | ({"causes": causes} if causes else {})
    with artifact.claim(out, "atlas", job) as done:
        if done is None:
            if not (out / DATABASE).exists():
                firings = given.segments if given else write_codes(coder, stored, out / FIRINGS, inputs)
                check_places(firings, stored)
                attached = Attached(model, coder, place)
                summary = _summary(stored, attached, trained, evaluated, firings, Path(dictionary).resolve().name)
                edit = partial(measure, attached, n=causes, folder=out / CAUSES, seed=seed) if causes else None
                write = partial(
                    _write, firings=firings, attached=attached, stored=stored, summary=summary, shape=shape, edit=edit,
                    seed=seed,
                )  # fmt: skip
                artifact.write_atomic(out / DATABASE, write)
            for folder in (FIRINGS, CAUSES):
                shutil.rmtree(out / folder, ignore_errors=True)
            facts = {"n_features": coder.config.n_features, "bytes": (out / DATABASE).stat().st_size}
            about = {"shape": asdict(shape), "site": str(place), "causes": causes}
            made = Manifest(kind="atlas", config=about, seed=seed, inputs=inputs, facts=facts)
            artifact.finish(out, made, [DATABASE])
    return Atlas.open(out)


def _write(
    path: Path, firings: Segments, attached: Attached, stored: Stored, summary: Summary, shape: PageShape,
    edit: Callable[..., dict[int, Causes]] | None, seed: int,
) -> None:  # fmt: skip
    n, model = firings.n_features, attached.model
    living = firings.n_fired > 0
    with ThreadPoolExecutor(WORKERS) as pool, StoreWriter(path, shape) as store:
        coder = attached.coder  # one matrix holds all directions, but for those that write less the later they read
        every = coder.W_dec if isinstance(coder, Linear) else coder.writes(torch.arange(n, device=model.device))
        directions = every.detach().float()
        nearest = nearest_directions(directions, torch.from_numpy(living).to(directions.device), n=GRAPH)
        effects = _effects(directions, attached.place, model, shape, pool)
        # Beside the profiles, not the products: those want every core at once.
        layout = pool.submit(lay_out, directions.cpu().numpy(), living, nearest.ids, nearest.cosine, seed=seed)
        text = _text(firings, stored)._replace(same=model.corpus.around(*SAME))
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
        if broken := [name for name, values in columns.items() if not np.isfinite(values).all()]:
            raise BadInput(
                f"Of some features {broken[0]} is no finite number: activations are too large for float32, or weights "
                "are. `physalis verify` says what a folder holds; record or train again."
            )
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


def _text(firings: Segments, stored: Stored) -> Text:
    # A plain view: the kernels are compiled for arrays, not for numpy's class of mapped ones.
    tokens, documents = (np.asarray(part).reshape(-1) for part in (stored.tokens, stored.documents))
    counts = np.zeros(int(tokens.max()) + 1, np.int64)
    for at, _ in firings.by_token():
        counts += np.bincount(tokens[at], minlength=len(counts))
    lead = int(any(part.hygiene.skip_first for side in stored.parts for part in side))
    return Text(tokens, documents, stored.context, lead, counts / max(1, counts.sum()))


def _effects(directions: torch.Tensor, place: Place, model: Model, shape: PageShape, pool: Executor) -> Effects:
    written = to_the_logits(directions, place, model.d_model)
    if written is None:
        return no_effects(len(directions), n=shape.effects, bins=shape.bins)
    unembedding = model.unembedding().to(directions.device)
    with torch.no_grad():
        return direct_effects(written, unembedding, known=model.known_ids, n=shape.effects, bins=shape.bins, pool=pool)


def _summary(
    stored: Stored, attached: Attached, trained: Manifest, evaluated: Manifest | None, firings: Segments, name: str
) -> Summary:
    config, recording = trained.config["dictionary"], stored.reads[0].manifest
    shape = attached.model.corpus.shape
    fired = Firing(torch.from_numpy(firings.n_fired), firings.n_tokens)
    edges, counts = log_density_histogram(fired)
    alone = {"metrics": _metrics(stored, firings, fired), "baselines": [], "firing": {"text": "all"}}
    said = evaluated.facts if evaluated else alone
    return Summary(
        name=name,
        model=recording.config["model"],
        site=str(attached.place),
        architecture=trained.config["architecture"],
        n_features=firings.n_features,
        k=config["k"],
        d_in=config["d_in"],
        n_tokens=firings.n_tokens,
        n_trained=trained.facts.get("n_tokens"),
        text=_text_name(recording.config["text"]),
        metrics={name: Estimate(**value) for name, value in said["metrics"].items()},
        held_out=stored.held_out.n_tokens > 0 and _apart(trained, stored.inputs, evaluated),
        counted_on=said["firing"]["text"],
        baselines=[Baseline.model_validate(baseline) for baseline in said["baselines"]],
        left_out=recording.facts["dropped"],
        density_histogram=Histogram(edges=edges, counts=counts),
        n_dead=int((firings.n_fired == 0).sum()),
        striking=[],
        provenance={
            "physalis": __version__, "dictionary": trained.hash, **stored.inputs,
        },
        document_shape=None if shape is None else [*shape],
    )  # fmt: skip


def _apart(trained: Manifest, inputs: dict[str, str], evaluated: Manifest | None) -> bool:
    """Whether what was held out of the recording was held out of training: both are of one recording. Another may hold
    the same text, cut elsewhere."""
    own = trained.inputs.get("activations")
    judged = inputs if evaluated is None else evaluated.inputs
    return own is not None and own == inputs["activations"] == judged.get("activations")


def _metrics(stored: Stored, firings: Segments, fired: Firing) -> dict[str, Interval]:
    """What is measured without an evaluation: FVU and L0 on the held-out part where there is one, the shares of
    features on all of the atlas's text."""
    unexplained, active = Sums(), Sums()
    documents, context = np.asarray(stored.documents).reshape(-1), stored.context
    at, num, den = torch.from_numpy(firings.measured).T
    unexplained.add(Ratio(num, den), documents[at.long().numpy()])
    judged = np.zeros(len(stored.tokens), bool)
    judged[(stored.held_out if stored.held_out.n_tokens else stored).contexts] = True
    for places, count in firings.by_token():
        here = judged[places // context]
        number = torch.from_numpy(count[here])
        active.add(Ratio(number, torch.ones_like(number)), documents[places[here]])
    return {
        "fvu": unexplained.estimate(), "l0": active.estimate(),
        "dead_fraction": share_estimate(dead_fraction(fired)), "dense_fraction": share_estimate(dense_fraction(fired)),
    }  # fmt: skip


def _text_name(text: dict[str, str]) -> str:
    """What a recording's text is called."""
    if text["name"] == "stdlib":
        return f"the library of Python {text['python']}"
    return text["name"]
