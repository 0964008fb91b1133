"""saedashboard: an atlas as the batch files that SAEDashboard writes and Neuronpedia's tools read.

    batch-0.json            {model_id, layer, sae_set, sae_id_suffix, features: [...]}, ``batch`` features each
    skipped_indexes.json    the features that never fire, which no batch holds

What the format asks for and an atlas does not know is null or an empty list, and named in what the export returns; so
is each place where SAEDashboard itself is at odds with its field's name.
"""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from physalis import artifact
from physalis.artifact import untrusted
from physalis.artifact.folder import is_file, write
from physalis.atlas import Atlas
from physalis.atlas.records import Example, Feature, Histogram, Record
from physalis.corpora.characters import plain
from physalis.errors import BadInput
from physalis.runtime.progress import progress
from physalis.site import Site

MOST_BATCH = 1 << 30
"""Bytes of a batch."""
TOKENS = 10
"""Promoted and suppressed tokens of a feature, as many as SAEDashboard lists."""

LEFT_OUT = {
    "vector": "An atlas holds no decoder weights. For steering there, write the dictionary for SAELens: "
    "physalis convert --to saelens.",
    "neuron_alignment_*, decoder_weights_dist": "Empty: they need the decoder's weights.",
    "correlated_neurons_*": "Empty: the model's neurons were not recorded.",
    "correlated_features_l1": "Empty: SAEDashboard puts cosines of codes there; an atlas keeps correlations alone.",
    "dfa_*": "Left out: direct feature attribution was not measured.",
    "n_prompts_total, n_tokens_in_prompt": "Null: an atlas counts tokens, not prompts.",
}
DECIDED = {
    "frac_nonzero": "The share of tokens on which the feature fires, exactly; SAEDashboard reads it off a title.",
    "bin_contains": "Of all tokens, the share with a code in the interval. In the lowest, SAEDashboard counts silent "
    "tokens too; here they count nowhere. The strongest examples are bin_min -1, bin_max the largest code, "
    "bin_contains -1, as its readers expect.",
    "correlated_features_pearson": "The correlation of firing, for the features that fire on the same tokens.",
    "qualifying_token_index": "The token that the example was kept for; SAEDashboard writes -1 for groups.",
    "neg_str, pos_str": f"The first {TOKENS}, as text: the format has no token ids.",
    "skipped_indexes": "Features that never fire. log_sparsity, SAEDashboard's threshold for rare ones, is null.",
}


_NUL = re.compile(r"(?<!\\)((?:\\\\)*)\\u0000")


class Exported(Record):
    """What an export wrote, what it could not, and what it chose where the format is at odds with itself."""

    n_features: int
    n_activations: int
    n_dead: int
    """Features that were asked for and never fire: left out, as SAEDashboard does."""
    left_out: dict[str, str]
    """Field to why it is empty."""
    decided: dict[str, str]
    """Field to what stands in it."""


def export_saedashboard(
    atlas: Atlas,
    out: Path | str,
    *,
    sae_set: str,
    model_id: str | None = None,
    features: Sequence[int] | None = None,
    batch: int = 128,
) -> Exported:
    """Write an atlas's features, or some of them, as SAEDashboard's batches.

    ``sae_set`` names the dictionaries it belongs to, such as "res-jb"; ``model_id`` the model in Neuronpedia's words;
    if not given, the end of its own name in small letters. Killed and run again, it goes on with the batch it stopped
    at. Raises BadInput for an unknown feature, a name that cannot be used, a folder that holds something else, a batch
    that is damaged, and a link in the place of a folder.
    """
    folder, summary = Path(out), atlas.summary()
    model_id, sae_set = named("model", model_id or short_name(summary.model)), named("set", sae_set)
    living, dead = chosen(atlas, features)
    head = {"model_id": model_id, "layer": layer_of(summary.site), "sae_set": sae_set}
    inputs = {"atlas": atlas.manifest.hash}
    job = {**head, "batch": batch, "features": artifact.digest([*living, *dead]), "inputs": inputs}

    def write(name: str, these: list[Feature]) -> dict[str, bytes]:
        told = [dashboard(feature, summary.text) for feature in these]
        return {f"{name}.json": json_line({**head, "sae_id_suffix": None, "features": told})}

    def count(file: Path) -> int:
        try:
            told = untrusted.parse_json(untrusted.read_bytes(file, most=MOST_BATCH), file)
            return sum(len(feature["activations"]) for feature in told["features"])
        except (BadInput, LookupError, TypeError) as error:
            raise damaged(file) from error

    with artifact.claim(folder, "saedashboard", job) as done:
        if done is None:
            files = write_batches(atlas, living, batch, folder, ["{}.json"], write)
            skipped = {**head, "layer": str(head["layer"]), "log_sparsity": None, "skipped_indexes": dead}
            files.append(write_file(folder, "skipped_indexes.json", json_line(skipped)))
            facts = {"n_features": len(living), "n_dead": len(dead)}
            facts["n_activations"] = sum(count(folder / name) for name in files if name.startswith("batch-"))
            manifest = artifact.Manifest(kind="saedashboard", config=job, inputs=inputs, facts=facts)
            done = artifact.finish(folder, manifest, files)
    return Exported(**done.facts, left_out=LEFT_OUT, decided=DECIDED)


class Shown(NamedTuple):
    """An example in the words of both formats."""

    example: Example
    bin_min: float
    bin_max: float
    bin_contains: float


def shown(feature: Feature) -> Iterator[Shown]:
    """Every example of a feature, the strongest first. Those among the strongest come again in their interval."""
    for group in feature.groups:
        top = group.name == "top"
        ends = (
            (-1.0, feature.max_code, -1.0) if top else (group.low, group.high, group.share_of_firings * feature.density)
        )
        for example in group.examples:
            yield Shown(example, *ends)


def dashboard(feature: Feature, dataset: str) -> dict[str, Any]:
    """A feature in SAEDashboard's words."""
    return {
        "feature_index": feature.id,
        **statistics(feature),
        "n_prompts_total": None,
        "n_tokens_in_prompt": None,
        "dataset": dataset,
        "activations": [
            {
                "bin_min": low, "bin_max": high, "bin_contains": contains,
                "tokens": [*map(plain, example.tokens)], "values": example.codes,
                "qualifying_token_index": example.position,
            }
            for example, low, high, contains in shown(feature)
        ],
    }  # fmt: skip


def statistics(feature: Feature) -> dict[str, Any]:
    """What both formats say of a feature under the same names."""
    empty = (
        "neuron_alignment_indices", "neuron_alignment_values", "neuron_alignment_l1", "correlated_neurons_indices",
        "correlated_neurons_pearson", "correlated_neurons_l1", "correlated_features_l1", "decoder_weights_dist",
    )  # fmt: skip
    effects = {"neg": feature.suppressed[:TOKENS], "pos": feature.promoted[:TOKENS]}
    return {
        **{name: [] for name in empty},
        "correlated_features_indices": [neighbour.id for neighbour in feature.cofiring],
        "correlated_features_pearson": [neighbour.value for neighbour in feature.cofiring],
        **{f"{side}_str": [effect.token for effect in found] for side, found in effects.items()},
        **{f"{side}_values": [effect.logit for effect in found] for side, found in effects.items()},
        "frac_nonzero": feature.density,
        "freq_hist_data_bar_values": middles(feature.histogram),
        "freq_hist_data_bar_heights": feature.histogram.counts,
        "logits_hist_data_bar_values": middles(feature.logit_histogram),
        "logits_hist_data_bar_heights": feature.logit_histogram.counts,
    }


def middles(histogram: Histogram) -> list[float]:
    """Where each bar stands: both formats give its middle."""
    edges = histogram.edges
    return [float(f"{(low + high) / 2:.6g}") for low, high in zip(edges, edges[1:], strict=False)]


def chosen(atlas: Atlas, features: Sequence[int] | None) -> tuple[list[int], list[int]]:
    """The features asked for, or all, in order: those that fire, and those that never do."""
    asked = sorted(set(range(len(atlas)) if features is None else features))
    if not asked:
        raise BadInput("There is no feature to export: the list is empty. Name some, or leave the list out.")
    for id in asked[:1] + asked[-1:]:
        atlas.rows([id])
    if not asked:
        raise BadInput("There is no feature to export. Name some, or leave the list out.")
    fires = set(atlas.map().ids)
    return [id for id in asked if id in fires], [id for id in asked if id not in fires]


def write_batches(
    atlas: Atlas,
    ids: list[int],
    batch: int,
    folder: Path,
    names: Sequence[str],
    write: Callable[[str, list[Feature]], dict[str, bytes]],
) -> list[str]:
    """Write the files of every batch, except where all of them are there; returns the names of all. ``names`` are those
    of a batch's files, with {} for "batch-0"; ``write`` gives their bytes."""
    if batch < 1:
        raise BadInput(f"A batch holds at least one feature; received {batch}.")
    files = []
    with progress("Exported", len(ids), "features") as advance:
        for n, first in enumerate(range(0, len(ids), batch)):
            mine = [name.format(f"batch-{n}") for name in names]
            if not all(is_file(folder, name) for name in mine):
                written = write(f"batch-{n}", [atlas[id] for id in ids[first : first + batch]])
                assert sorted(written) == sorted(mine)
                for name, content in written.items():
                    write_file(folder, name, content)
            files += mine
            advance(len(ids[first : first + batch]))
    return files


def write_file(folder: Path, name: str, content: bytes) -> str:
    """Write a file, not through a link; returns its name."""
    write(folder, name, content)
    return name


def damaged(file: Path) -> BadInput:
    """The error for a batch of an earlier run that cannot be read."""
    return BadInput(f"{file} is damaged. Remove it and run the same command again: it is then made anew.")


def json_line(value: Any) -> bytes:
    """One line of JSON, without what Postgres, where these end, takes for no text: NUL, halves of surrogate pairs."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return _NUL.sub(r"\1\\ufffd", text).encode("utf-8", "replace") + b"\n"


def layer_of(site: str) -> int:
    """The layer of the site that is read, of the summary's ``site``; 0 for the embedding. Raises BadInput for what both
    formats cannot name: the logits, and several sites."""
    reads = site.split(" → ")[0]
    if ", " in reads:
        raise BadInput(
            f"Neuronpedia names a dictionary by the one layer that it reads, and this one reads {reads}. It cannot be "
            "exported."
        )
    where = Site.parse(reads)
    if where.name == "logits":
        raise BadInput("Neuronpedia names a dictionary by its layer, and the logits have none. It cannot be exported.")
    return where.layer or 0


def short_name(model: str) -> str:
    """ "HuggingFaceTB/SmolLM2-135M" as "smollm2-135m"."""
    return re.sub(r"[^a-z0-9._-]+", "-", model.rstrip("/").split("/")[-1].lower()).strip("-.")


def named(what: str, name: str) -> str:
    """The name, if it may stand in Neuronpedia's addresses. Raises BadInput otherwise."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise BadInput(
            f"Neuronpedia cannot call a {what} {name!r}. Use letters, digits, dots, dashes and underscores, as in "
            "gpt2-small or res-jb."
        )
    return name
