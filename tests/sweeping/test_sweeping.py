"""Sweeps: a grid in one go, its record and its picture."""

import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from judged import record_all, rows

from physalis import artifact, dictionaries
from physalis.activations import Pairs
from physalis.errors import BadInput
from physalis.sweeping import sweeping
from physalis.sweeping.frontier import Curve, Dot, draw
from physalis.sweeping.sweeping import sweep
from physalis.training import checkpoints, training

GRID = dict(architectures=["topk", "jumprelu"], ks=[4, 8], widths=[96], seeds=[0, 1], batch_size=512)


@pytest.fixture(scope="module")
def recorded(tiny, tmp_path_factory):
    return record_all(tiny, tmp_path_factory.mktemp("swept"))


@pytest.fixture(scope="module")
def done(tiny_activations, tmp_path_factory):
    return sweep(tiny_activations, tmp_path_factory.mktemp("sweep") / "s", **GRID)


def test_every_point_is_a_dictionary_that_was_judged(done):
    assert len(done.points) == 8
    for point in done.points:
        assert point.fvu["low"] < point.fvu["value"] < point.fvu["high"]
        assert (point.difference is None) == (point.architecture == "topk")
        assert point.l0["value"] == pytest.approx(point.k, rel=0.1)
    topk = {point.k: point.fvu["value"] for point in done.points if (point.architecture, point.seed) == ("topk", 0)}
    assert topk[8] < topk[4], "more features rebuild more"
    seeds = {point.seed: point.fvu["value"] for point in done.points if (point.architecture, point.k) == ("topk", 4)}
    assert seeds[0] != seeds[1]


def test_a_finished_sweep_is_only_read(done, tiny_activations, monkeypatch):
    monkeypatch.setattr(sweeping, "train", None)
    folder = Path(done.picture).parent
    assert sweep(tiny_activations, folder, **GRID) == done
    assert dictionaries.load(folder / done.points[0].folder).config.k == 4
    assert artifact.read(folder, "sweep").hash == done.manifest


def test_a_sweep_that_stopped_goes_on_to_the_same_bytes(done, tiny_activations, tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoints, "EVERY_S", -1.0)
    descend, steps = training.Run.descend, []

    class Stop(Exception):
        pass

    def stopping(self, batch, step, *rest):
        steps.append(step)
        if len(steps) == 8 * 5:
            raise Stop
        return descend(self, batch, step, *rest)

    monkeypatch.setattr(training.Run, "descend", stopping)
    with pytest.raises(Stop):
        sweep(tiny_activations, tmp_path / "s", **GRID)
    again = sweep(tiny_activations, tmp_path / "s", **GRID)
    assert steps.count(0) == 8, "steps that a checkpoint held were done again"
    assert (again.manifest, again.points) == (done.manifest, done.points)
    assert Path(again.picture).read_bytes() == Path(done.picture).read_bytes()


def test_the_picture_holds_every_curve_and_dot(done):
    picture = ElementTree.parse(done.picture).getroot()
    texts = [element.text for element in picture.iter("{http://www.w3.org/2000/svg}text")]
    assert {"topk", "jumprelu"} <= set(texts)
    dots = len(list(picture.iter("{http://www.w3.org/2000/svg}circle")))
    assert dots == 4 + 2, "seeds are averaged, and each k has a linear map"
    assert "PCA" in texts
    assert [each.k for each in done.baselines] == [4, 8]
    assert done.baselines[0].fvu["value"] > done.baselines[1].fvu["value"]


def test_transcoders_are_swept_from_the_command_line(recorded, physalis, tmp_path):
    """Widths as train spells them, intervals over documents, differences paired: known better than either."""
    reads, writes = (recorded[f"L1.{name}"].folder for name in ("mlp_in", "mlp_out"))
    grid = ["--dictionary", "topk", "--dictionary", "batchtopk", "--k", 4, "--features", "2x", "--features", "96"]
    out = ["--out", tmp_path / "s", "--batch-size", 512]
    code, said, _ = physalis("sweep", reads, "--writes", writes, *grid, *out, "--json")
    found = json.loads(said)
    assert code == 0 and {point["n_features"] for point in found["points"]} == {64, 96}
    for point in found["points"]:
        fvu, less = point["fvu"], point["difference"]
        assert fvu["low"] < fvu["value"] < fvu["high"]
        assert (less is None) == (point["architecture"] == "topk")
        assert less is None or less["high"] - less["low"] < fvu["high"] - fvu["low"]
    sae = dictionaries.load(tmp_path / "s" / found["points"][0]["folder"])
    x, y = rows(Pairs.open([reads], [writes]).held_out)
    mean = recorded["L1.mlp_out"].mean
    fvu = (y - sae.rebuild(x, sae.encode(x))).square().sum() / (y - mean).square().sum()
    assert found["points"][0]["fvu"]["value"] == pytest.approx(float(fvu), rel=1e-3)
    assert "best linear map" in (tmp_path / "s" / "frontier.svg").read_text()
    code, said, _ = physalis("sweep", reads, "--writes", writes, *grid, *out)
    assert code == 0 and "less topk's" in said and "linear, of rank k" in said


@pytest.mark.parametrize("architecture", ["crosscoder", "crosslayer"])
def test_joined_sites_are_swept(recorded, architecture, tmp_path):
    names = ("mlp_in", "mlp_out") if architecture == "crosslayer" else ("mlp_out",)
    source = Pairs.open(*([recorded[f"L{i}.{name}"].folder for i in (0, 1)] for name in names))
    options = {"architectures": [architecture], "ks": [4], "widths": [96], "batch_size": 512}
    point = sweep(source, tmp_path / "s", **options).points[0]
    sae = dictionaries.load(tmp_path / "s" / point.folder)
    assert (sae.config.layers if architecture == "crosslayer" else len(sae.config.sites)) == 2
    assert 0 < point.fvu["value"] < 1.5


def test_skip_paths_are_swept_beside_what_they_could_do_alone(recorded, tmp_path):
    source = Pairs.open(*([recorded[f"L1.{name}"].folder] for name in ("mlp_in", "mlp_out")))
    options = {"architectures": ["topk"], "ks": [4, 8], "widths": [96], "batch_size": 512}
    plain, beside = sweep(source, tmp_path / "a", **options), sweep(source, tmp_path / "b", **options, skip=True)
    assert dictionaries.load(tmp_path / "b" / beside.points[0].folder).config.skip
    full, also = (each.fvu["value"] for each in beside.baselines)
    assert full == also < min(each.fvu["value"] for each in plain.baselines)
    with pytest.raises(BadInput, match="another job"):
        sweep(source, tmp_path / "a", **options, skip=True)
    with pytest.raises(BadInput, match="crosscoder is of several sites; received one"):
        sweep(source, tmp_path / "c", **options | {"architectures": ["crosscoder"]})


def test_labels_keep_apart_and_text_is_escaped():
    curves = [Curve(f"<{i}>", [Dot(8, 0.3, 0.29, 0.31), Dot(16, 0.2 + i / 1e4, 0.19, 0.21)]) for i in range(6)]
    picture = ElementTree.fromstring(draw(curves, title="a & b", about=""))
    labels = [e for e in picture.iter("{http://www.w3.org/2000/svg}text") if (e.text or "").startswith("<")]
    heights = sorted(float(e.get("y")) for e in labels)
    assert len(labels) == 6 and all(b - a >= 15.9 for a, b in zip(heights, heights[1:], strict=False))


def test_bad_input_is_a_sentence(tiny_activations, tmp_path):
    with pytest.raises(BadInput, match="no dictionary architecture 'topq'"):
        sweep(tiny_activations, tmp_path / "a", architectures=["topq"])
    with pytest.raises(BadInput, match="at least one"):
        sweep(tiny_activations, tmp_path / "b", ks=[])
