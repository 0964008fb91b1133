"""neuronpedia: an atlas in the files that Neuronpedia imports.

    MODEL/LAYER-SET[__SUFFIX]/
        release.jsonl  model.jsonl  sourceset.jsonl  source.jsonl      one line each
        features/batch-0.jsonl.gz       a line for each feature
        activations/batch-0.jsonl.gz    a line for each example
        explanations/batch-0.jsonl.gz   a line for each explanation that is given

Its importer takes the columns of a table from the first line of a file, so all lines have the same fields, and a field
that is not there gets the database's default. Times are left to it: the same atlas gives the same bytes.
"""

import gzip
import hashlib
import math
import re
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from physalis import artifact
from physalis.atlas import Atlas
from physalis.atlas.records import Feature, Record, Summary
from physalis.corpora.characters import plain
from physalis.exchange.formats import saedashboard
from physalis.exchange.formats.saedashboard import (
    Exported,
    chosen,
    json_line,
    layer_of,
    named,
    short_name,
    shown,
    statistics,
)
from physalis.exchange.imported import hook_of

CREATOR_ID = "clkht01d40000jv08hvalcvly"
"""The user that Neuronpedia's own exporter falls back to, which its installation makes: a row needs one who exists."""

LEFT_OUT = {
    "vector, vectorDefaultSteerStrength": saedashboard.LEFT_OUT["vector"],
    **{name: saedashboard.LEFT_OUT[name] for name in (
        "neuron_alignment_*, decoder_weights_dist", "correlated_neurons_*", "correlated_features_l1",
    )},
    "dfa*, lossValues, logitContributions, z*": "Empty or null: they were not measured.",
    "num_prompts, num_tokens_in_prompt": "Null: an atlas counts tokens, not prompts.",
    "saelensConfig, saelensRelease, saelensSaeId, hfRepoId, hfFolderId": "Left out: an atlas does not know where its "
    "dictionary is kept; without them Neuronpedia cannot run it.",
    "layers, neuronsPerLayer": "0 in model.jsonl, as SAEDashboard writes: an atlas does not know the whole model. "
    "Neuronpedia keeps a model that it has.",
    "explanations/": "Of features that are not explained: none. A headline of tokens is computed from the data, and "
    "is no explanation.",
    "scoreV1, scoreV2, embedding": "Left out: they are of other methods. Scores stand in the notes of an explanation.",
    "createdAt, updatedAt": "Left out: the database sets them.",
}  # fmt: skip
DECIDED = {
    "index": "Text, as the database has it; SAEDashboard writes a number.",
    "maxActApprox": "The largest code on the text of the atlas, exactly.",
    "topkCosSimIndices, topkCosSimValues": "The nearest features by the cosine of decoder directions.",
    "umap_x, umap_y, umap_cluster": "The place and the region on the atlas's map, which is not UMAP.",
    "umap_log_feature_sparsity": "log10 of the density.",
    "binContains": saedashboard.DECIDED["bin_contains"],
    "qualifyingTokenIndex": "The token that the example was kept for.",
    "dataIndex, dataSource": "The number of the document, and the name of the text.",
    "id": "Of an activation: from a hash of the atlas and its place, so that importing twice adds nothing.",
    **{
        name: saedashboard.DECIDED[name] for name in ("frac_nonzero", "correlated_features_pearson", "neg_str, pos_str")
    },
    "dead features": "Left out, as SAEDashboard does.",
    "typeName, explanationModelName": "The method, such as physalis-rule, and the model that wrote the words; null for "
    "a rule, which none wrote. Both name rows of tables there: whoever imports adds those first, or leaves them null.",
    "notes": "Of an explanation: how good it is, by whom judged.",
}


class Told(Record):
    """An explanation of a feature, as it is told there."""

    feature: int
    description: str
    method: str
    """typeName."""
    model: str | None
    """explanationModelName: None where none wrote it."""
    notes: str
    """How good it is."""


def export_neuronpedia(
    atlas: Atlas,
    out: Path | str,
    *,
    source_set: str,
    creator: str,
    release: str | None = None,
    description: str = "",
    url: str = "",
    suffix: str = "",
    model_id: str | None = None,
    creator_id: str = CREATOR_ID,
    features: Sequence[int] | None = None,
    batch: int = 128,
    explanations: Sequence[Told] = (),
) -> Exported:
    """Write an atlas's features, or some of them, for Neuronpedia's import, and what is said of these in
    ``explanations`` (``naming.told`` gives what lies beside an atlas).

    The dictionary becomes the source ``LAYER-source_set``, ``__suffix`` after it if there is one, of ``release`` (the
    set's name if not given) by ``creator``; ``model_id`` is the model in Neuronpedia's words, by default the end of its
    own name in small letters. Killed and run again, it goes on with the batch it stopped at.
    Raises BadInput for an unknown feature, a name that cannot be used, a site that Neuronpedia has no name for, a
    folder that holds something else, a batch that is damaged, and a link in the place of a folder.
    """
    folder, summary = Path(out), atlas.summary()
    model_id = named("model", model_id or short_name(summary.model))
    source = f"{layer_of(summary.site)}-{named('set', source_set)}" + (f"__{named('suffix', suffix)}" if suffix else "")
    hook = hook_of(summary.site.split(" → ")[0])
    living, dead = chosen(atlas, features)
    said = {
        "model_id": model_id, "source": source, "source_set": source_set, "creator": creator, "creator_id": creator_id,
        "release": release or source_set, "description": description or summary.name, "url": url,
    }  # fmt: skip
    inputs = {"atlas": atlas.manifest.hash}
    job = {**said, "batch": batch, "features": artifact.digest([*living, *dead]), "inputs": inputs}
    exported = {*living}
    told = [each for each in explanations if each.feature in exported]
    if told:
        job["explanations"] = artifact.digest([each.model_dump() for each in told])
    place = f"{model_id}/{source}"
    both = (f"{place}/features/{{}}.jsonl.gz", f"{place}/activations/{{}}.jsonl.gz")
    whose = {"modelId": model_id, "layer": source, "creatorId": creator_id}

    def write(name: str, these: list[Feature]) -> dict[str, bytes]:
        of_set = {**whose, "sourceSetName": source_set, "hookName": hook}
        rows = ([of_set | neuron(each) for each in these], [whose | row for each in these for row in rows_of(each)])
        return {file.format(name): _zipped(lines) for file, lines in zip(both, rows, strict=True)}

    def rows_of(feature: Feature) -> Iterator[dict[str, Any]]:
        return activations(feature, summary.text, atlas.manifest.hash)

    with artifact.claim(folder, "neuronpedia", job) as done:
        if done is None:
            files = [
                saedashboard.write_file(folder, f"{place}/{name}.jsonl", json_line(row))
                for name, row in metadata(summary, said).items()
            ]
            files += saedashboard.write_batches(atlas, living, batch, folder, both, write)
            files += _write_explanations(told, whose, batch, folder, f"{place}/explanations", atlas.manifest.hash)
            facts = {"n_features": len(living), "n_dead": len(dead)}
            facts["n_activations"] = sum(_count(folder / name) for name in files if "/activations/" in name)
            manifest = artifact.Manifest(kind="neuronpedia", config=job, inputs=inputs, facts=facts)
            done = artifact.finish(folder, manifest, files)
    return Exported(**done.facts, left_out=LEFT_OUT, decided=DECIDED)


def _write_explanations(
    told: Sequence[Told], whose: dict[str, str], batch: int, folder: Path, place: str, atlas: str
) -> list[str]:
    """A line each, ``batch`` in a file; no file where there are none."""
    files = []
    for n, first in enumerate(range(0, len(told), batch)):
        rows = [
            {
                "id": _id(f"{atlas} {each.feature} {each.method} {each.model} {each.description}"),
                "modelId": whose["modelId"], "layer": whose["layer"], "index": str(each.feature),
                "description": plain(each.description), "authorId": whose["creatorId"], "notes": each.notes,
                "typeName": each.method, "explanationModelName": each.model,
            }
            for each in told[first : first + batch]
        ]  # fmt: skip
        files.append(saedashboard.write_file(folder, f"{place}/batch-{n}.jsonl.gz", _zipped(rows)))
    return files


def _id(of: str) -> str:
    """Like a cuid: c and 24 small letters and digits."""
    return "c" + hashlib.sha256(of.encode("utf-8", "replace")).hexdigest()[:24]


def metadata(summary: Summary, said: dict[str, str]) -> dict[str, dict[str, Any]]:
    """The rows of the four small files. Their importer refuses a field that its database does not have, so they hold
    only those that it has had from the first."""
    by = {"creatorId": said["creator_id"], "visibility": "PUBLIC"}
    urls = [said["url"]] if said["url"] else []
    model = said["model_id"]
    whole = not summary.site.split(" → ")[0].endswith(".z")  # heads side by side may be wider than the model
    return {
        "release": by | {
            "name": said["release"], "description": said["description"], "descriptionShort": said["description"],
            "urls": urls, "creatorName": said["creator"], "creatorNameShort": said["creator"],
            "isNewUi": False, "featured": False,
        },
        "model": by | {
            "id": model, "instruct": re.search(r"instruct|chat|-it$", model) is not None, "displayNameShort": model,
            "displayName": summary.model, "dimension": summary.d_in if whole else None, "inferenceEnabled": False,
            "layers": 0, "neuronsPerLayer": 0, "owner": said["creator"],
        },
        "sourceset": by | {
            "modelId": model, "name": said["source_set"], "hasDashboards": True, "description": said["description"],
            "type": "", "creatorName": said["creator"], "urls": urls, "releaseName": said["release"],
            "defaultRange": 1, "defaultShowBreaks": True, "showDfa": False, "showCorrelated": False,
            "showHeadAttribution": False, "showUmap": False,
        },
        "source": by | {
            "modelId": model, "id": said["source"], "setName": said["source_set"], "hasDashboards": True,
            "inferenceEnabled": False, "num_prompts": None, "num_tokens_in_prompt": None, "dataset": summary.text,
            "notes": f"{summary.architecture}, {summary.n_features} features, at {summary.site} of {summary.model}; "
            f"examples from {summary.n_tokens} tokens.",
            "hasUmap": False,
        },
    }  # fmt: skip


def neuron(feature: Feature) -> dict[str, Any]:
    """A feature in Neuronpedia's words, beside what all of a source share."""
    return {
        "index": str(feature.id),
        "maxActApprox": feature.max_code,
        "hasVector": False,
        "vector": [],
        "vectorLabel": None,
        "topkCosSimIndices": [neighbour.id for neighbour in feature.nearest],
        "topkCosSimValues": [neighbour.value for neighbour in feature.nearest],
        **statistics(feature),
        "umap_x": feature.x,
        "umap_y": feature.y,
        "umap_cluster": feature.region,
        "umap_log_feature_sparsity": math.log10(feature.density),
    }


def activations(feature: Feature, text: str, atlas: str) -> Iterator[dict[str, Any]]:
    """The examples of a feature in Neuronpedia's words. ``atlas`` is its hash."""
    for n, (example, low, high, contains) in enumerate(shown(feature)):
        codes, largest = example.codes, max(example.codes)
        yield {
            "id": _id(f"{atlas} {feature.id} {n}"),
            "index": str(feature.id), "tokens": [*map(plain, example.tokens)], "values": codes,
            "maxValue": largest, "maxValueTokenIndex": codes.index(largest), "minValue": min(codes),
            "dataSource": text, "dataIndex": str(example.document),
            "dfaValues": [], "dfaTargetIndex": None, "dfaMaxValue": None, "lossValues": [], "logitContributions": None,
            "binMin": low, "binMax": high, "binContains": contains, "qualifyingTokenIndex": example.position,
        }  # fmt: skip


def _count(file: Path) -> int:
    """Lines of a batch."""
    try:
        with gzip.open(file) as lines:
            return sum(1 for _ in lines)
    except (OSError, EOFError, zlib.error) as error:
        raise saedashboard.damaged(file) from error


def _zipped(rows: Sequence[dict[str, Any]]) -> bytes:
    return gzip.compress(b"".join(map(json_line, rows)), 6, mtime=0)
