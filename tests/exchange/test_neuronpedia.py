"""Exports for Neuronpedia and SAEDashboard: every field against the atlas, and a run that is stopped goes on."""

import gzip
import json
import math
import re
from pathlib import Path

import pytest
from test_kill import check_kills

from physalis import artifact
from physalis.atlas import Atlas
from physalis.errors import BadInput
from physalis.exchange.formats import saedashboard
from physalis.exchange.formats.neuronpedia import DECIDED, LEFT_OUT, export_neuronpedia
from physalis.exchange.formats.saedashboard import Exported, export_saedashboard, json_line, named, short_name

FEATURE = {
    "modelId", "layer", "index", "creatorId", "maxActApprox", "hasVector", "vector", "vectorLabel", "hookName",
    "topkCosSimIndices", "topkCosSimValues", "neuron_alignment_indices", "neuron_alignment_values",
    "neuron_alignment_l1", "correlated_neurons_indices", "correlated_neurons_pearson", "correlated_neurons_l1",
    "correlated_features_indices", "correlated_features_pearson", "correlated_features_l1", "neg_str", "neg_values",
    "pos_str", "pos_values", "frac_nonzero", "freq_hist_data_bar_heights", "freq_hist_data_bar_values",
    "logits_hist_data_bar_heights", "logits_hist_data_bar_values", "decoder_weights_dist", "sourceSetName",
    "umap_x", "umap_y", "umap_cluster", "umap_log_feature_sparsity",
}  # fmt: skip
"""Columns of Neuronpedia's table Neuron that a row gives; createdAt and vectorDefaultSteerStrength have defaults."""
ACTIVATION = {
    "id", "tokens", "index", "layer", "modelId", "maxValue", "maxValueTokenIndex", "minValue", "values", "creatorId",
    "dataSource", "dataIndex", "dfaValues", "dfaTargetIndex", "dfaMaxValue", "lossValues", "logitContributions",
    "binMin", "binMax", "binContains", "qualifyingTokenIndex",
}  # fmt: skip
DASHBOARD = {
    "feature_index", "neuron_alignment_indices", "neuron_alignment_values", "neuron_alignment_l1",
    "correlated_neurons_indices", "correlated_neurons_l1", "correlated_neurons_pearson",
    "correlated_features_indices", "correlated_features_l1", "correlated_features_pearson", "neg_str", "neg_values",
    "pos_str", "pos_values", "frac_nonzero", "freq_hist_data_bar_values", "freq_hist_data_bar_heights",
    "logits_hist_data_bar_heights", "logits_hist_data_bar_values", "n_prompts_total", "n_tokens_in_prompt", "dataset",
    "decoder_weights_dist", "activations",
}  # fmt: skip
NAMED = {"source_set": "res-test", "creator": "Somebody"}


@pytest.fixture(scope="module")
def exported(tiny_atlas, tmp_path_factory):
    """The folder of an export, and what was said of it."""
    out = tmp_path_factory.mktemp("neuronpedia") / "out"
    return out, export_neuronpedia(tiny_atlas, out, **NAMED, batch=10, suffix="a")


@pytest.fixture(scope="module")
def living(tiny_atlas):
    found = [tiny_atlas[id] for id in range(len(tiny_atlas))]
    return [feature for feature in found if feature.n_fired]


def lines(file: Path) -> list[dict]:
    text = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
    return [json.loads(line) for line in text.decode().split("\n") if line]


def batches(folder: Path) -> list[dict]:
    files = sorted(folder.glob("batch-*.jsonl.gz"), key=lambda p: int(re.findall(r"\d+", p.name)[0]))
    return [row for file in files for row in lines(file)]


def source(out: Path) -> Path:
    (folder,) = out.glob("*/1-res-test__a")
    return folder


def test_features_say_what_the_atlas_says(exported, living, tiny_atlas):
    folder = source(exported[0])
    rows = batches(folder / "features")
    assert len(list((folder / "features").iterdir())) == math.ceil(len(living) / 10)
    assert [row["index"] for row in rows] == [str(feature.id) for feature in living]
    for row, feature in zip(rows, living, strict=True):
        assert set(row) == FEATURE
        assert (row["layer"], row["hookName"]) == ("1-res-test__a", "blocks.1.hook_resid_post")
        assert row["frac_nonzero"] == feature.density == feature.n_fired / tiny_atlas.summary().n_tokens
        assert row["maxActApprox"] == feature.max_code
        assert dict(zip(row["topkCosSimIndices"], row["topkCosSimValues"], strict=True)) == {
            n.id: n.value for n in feature.nearest
        }
        assert dict(zip(row["correlated_features_indices"], row["correlated_features_pearson"], strict=True)) == {
            n.id: n.value for n in feature.cofiring
        }
        assert list(zip(row["pos_str"], row["pos_values"], strict=True)) == [
            (e.token.replace("\0", "\ufffd"), e.logit) for e in feature.promoted[:10]
        ]
        assert row["neg_values"] == sorted(row["neg_values"]) and len(row["neg_str"]) == 10
        assert sum(row["freq_hist_data_bar_heights"]) == feature.n_fired
        width = feature.max_code / len(row["freq_hist_data_bar_values"])
        assert row["freq_hist_data_bar_values"] == pytest.approx(
            [width * (i + 0.5) for i in range(len(feature.histogram.counts))], rel=1e-3
        )
        assert len(row["logits_hist_data_bar_values"]) == len(row["logits_hist_data_bar_heights"])
        assert 10 ** row["umap_log_feature_sparsity"] == pytest.approx(feature.density)


def test_activations_are_the_examples(exported, living, tiny_atlas):
    out, said = exported
    rows = batches(source(out) / "activations")
    assert len(rows) == said.n_activations == sum(len(g.examples) for f in living for g in f.groups)
    assert len({row["id"] for row in rows}) == len(rows)
    of = {}
    for row in rows:
        of.setdefault(int(row["index"]), []).append(row)
    total = tiny_atlas.summary().n_tokens
    for feature in living:
        mine = of[feature.id]
        for row in mine:
            assert set(row) == ACTIVATION and re.fullmatch("c[0-9a-f]{24}", row["id"])
            assert len(row["tokens"]) == len(row["values"])
            assert row["values"][row["maxValueTokenIndex"]] == row["maxValue"] == max(row["values"])
            assert row["minValue"] == min(row["values"])
            assert row["values"][row["qualifyingTokenIndex"]] > 0
        top = [row for row in mine if row["binMin"] == -1]
        assert {(row["binMax"], row["binContains"]) for row in top} == {(feature.max_code, -1)}
        assert max(row["maxValue"] for row in top) == pytest.approx(feature.max_code, rel=1e-3)
        # Over all intervals, the share of tokens on which it fires.
        shares = [group.share_of_firings for group in feature.groups if group.name != "top"]
        assert sum(shares) * feature.n_fired / total == pytest.approx(feature.density, rel=1e-3)
        for row in mine:
            if row["binMin"] >= 0:
                code = row["values"][row["qualifyingTokenIndex"]]
                assert row["binMin"] * 0.999 <= code <= row["binMax"] * 1.001
                assert 0 < row["binContains"] <= feature.density


def test_the_small_files_belong_together(exported, tiny_atlas):
    folder = source(exported[0])
    read = {name: lines(folder / f"{name}.jsonl") for name in ("release", "model", "sourceset", "source")}
    assert all(len(rows) == 1 for rows in read.values())
    release, model, of, dictionary = (rows[0] for rows in read.values())
    summary = tiny_atlas.summary()
    assert folder.parent.name == model["id"] == of["modelId"] == dictionary["modelId"] == short_name(summary.model)
    assert (dictionary["id"], dictionary["setName"], of["name"]) == ("1-res-test__a", "res-test", "res-test")
    assert of["releaseName"] == release["name"] == "res-test" and release["creatorName"] == "Somebody"
    assert (model["dimension"], model["layers"], dictionary["dataset"]) == (summary.d_in, 0, summary.text)
    assert not any("createdAt" in row or "saelensConfig" in row for rows in read.values() for row in rows)


def test_what_is_missing_or_chosen_is_said(exported, living, tiny_atlas):
    said = exported[1]
    assert (said.n_features, said.n_dead) == (len(living), len(tiny_atlas) - len(living))
    assert said.left_out == LEFT_OUT and said.decided == DECIDED
    # Whatever is empty in every row is named.
    rows = batches(source(exported[0]) / "features")
    empty = {name for name in FEATURE if all(row[name] in ([], None) for row in rows)}
    told = [re.compile(word.replace("*", ".*")) for key in said.left_out for word in re.split(r",\s*", key)]
    assert empty - {"vectorLabel"} == {name for name in empty if any(word.fullmatch(name) for word in told)}
    assert {"vector", "correlated_features_l1", "neuron_alignment_l1"} <= empty


def test_dashboards_say_the_same(tiny_atlas, living, tmp_path):
    said = export_saedashboard(tiny_atlas, tmp_path, sae_set="res-test", model_id="gpt2-small", batch=100)
    first = json.loads((tmp_path / "batch-0.json").read_text())
    assert {k: v for k, v in first.items() if k != "features"} == {
        "model_id": "gpt2-small", "layer": 1, "sae_set": "res-test", "sae_id_suffix": None,
    }  # fmt: skip
    files = sorted(tmp_path.glob("batch-*.json"), key=lambda p: int(p.stem[6:]))
    features = [each for file in files for each in json.loads(file.read_text())["features"]]
    assert [each["feature_index"] for each in features] == [feature.id for feature in living]
    skipped = json.loads((tmp_path / "skipped_indexes.json").read_text())["skipped_indexes"]
    assert sorted([*skipped, *(feature.id for feature in living)]) == list(range(len(tiny_atlas)))
    for each, feature in zip(features, living, strict=True):
        assert set(each) == DASHBOARD
        examples = [example for group in feature.groups for example in group.examples]
        assert [a["values"] for a in each["activations"]] == [e.codes for e in examples]
        assert [a["tokens"] for a in each["activations"]] == [e.tokens for e in examples]
        assert all(set(a) == {"bin_min", "bin_max", "bin_contains", "tokens", "values", "qualifying_token_index"}
                   for a in each["activations"])  # fmt: skip
    assert said.n_activations == sum(len(each["activations"]) for each in features)
    assert export_saedashboard(tiny_atlas, tmp_path, sae_set="res-test", model_id="gpt2-small", batch=100) == said


def test_a_few_features_and_dead_ones(tiny_atlas, living, tmp_path):
    dead = next((i for i in range(len(tiny_atlas)) if i not in {f.id for f in living}), None)
    asked = [living[3].id, living[0].id, living[3].id] + ([dead] if dead is not None else [])
    said = export_neuronpedia(tiny_atlas, tmp_path, **NAMED, features=asked)
    assert (said.n_features, said.n_dead) == (2, len(asked) - 3)
    (folder,) = tmp_path.glob("*/1-res-test")
    assert [row["index"] for row in batches(folder / "features")] == [str(living[0].id), str(living[3].id)]


def test_a_stopped_run_goes_on_and_a_finished_one_is_kept(tiny_atlas, exported, tmp_path, monkeypatch):
    asked = []

    class Counting(Atlas):
        def __getitem__(self, id):
            asked.append(id)
            if len(asked) == 25:
                raise KeyboardInterrupt
            return super().__getitem__(id)

    atlas = Counting.open(tiny_atlas.folder)
    with pytest.raises(KeyboardInterrupt):
        export_neuronpedia(atlas, tmp_path, **NAMED, batch=10, suffix="a")
    asked[:] = [-1] * 200
    assert export_neuronpedia(atlas, tmp_path, **NAMED, batch=10, suffix="a") == exported[1]
    again = asked[200:]
    assert len(again) == exported[1].n_features - 20
    assert artifact.read(tmp_path, "neuronpedia").files == artifact.read(exported[0], "neuronpedia").files
    export_neuronpedia(atlas, tmp_path, **NAMED, batch=10, suffix="a")
    assert len(asked) == 200 + len(again)
    with pytest.raises(BadInput, match="another job: batch was 10, now 60"):
        export_neuronpedia(atlas, tmp_path, **NAMED, batch=60, suffix="a")


def export_all(out: Path, atlas: Path) -> None:
    export_neuronpedia(Atlas.open(atlas), out, **NAMED, batch=8)


@pytest.mark.slow
def test_an_export_survives_kills(tiny_atlas, tmp_path):
    check_kills(export_all, tiny_atlas.folder, folder=tmp_path, kills=3, seed=6)


def test_text_that_postgres_cannot_hold():
    sent = {"a": "x\0y", "b": "a\\u0000", "c": "\\\0", "d": "half \ud83d", "e": "日本 \u2028"}
    back = json.loads(json_line(sent))
    assert back == {"a": "x\ufffdy", "b": "a\\u0000", "c": "\\\ufffd", "d": "half ?", "e": "日本 \u2028"}
    assert json_line(sent).count(b"\n") == 1
    with pytest.raises(ValueError):
        json_line({"a": float("nan")})


def test_refusals_are_sentences(tiny_atlas, tmp_path):
    for wrong in ("", "a b", "../x", "-x", "a/b", "ä"):
        with pytest.raises(BadInput, match="Neuronpedia cannot call a set"):
            export_neuronpedia(tiny_atlas, tmp_path, source_set=wrong, creator="S")
    with pytest.raises(BadInput, match="There is no feature 99999"):
        export_neuronpedia(tiny_atlas, tmp_path, **NAMED, features=[0, 99999])
    with pytest.raises(BadInput, match="no feature to export"):
        export_saedashboard(tiny_atlas, tmp_path, sae_set="a", features=[])
    with pytest.raises(BadInput, match="at least one feature; received 0"):
        export_saedashboard(tiny_atlas, tmp_path, sae_set="a", batch=0)
    with pytest.raises(BadInput, match="the logits have none"):
        saedashboard.layer_of("logits")
    assert short_name("HuggingFaceTB/SmolLM2-135M Instruct") == "smollm2-135m-instruct"
    assert named("set", "res-jb") == "res-jb" and saedashboard.layer_of("embed") == 0
    assert set(Exported.model_fields) >= {"left_out", "decided"}
