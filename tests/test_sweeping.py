"""Sweeps: a grid in one go, its record and its picture."""

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from physalis import artifact, checkpoints, dictionaries, sweeping, training
from physalis.errors import BadInput
from physalis.frontier import Curve, Dot, draw
from physalis.sweeping import sweep

GRID = dict(architectures=["topk", "jumprelu"], ks=[4, 8], widths=[96], seeds=[0, 1], batch_size=512)


@pytest.fixture(scope="module")
def done(tiny_activations, tmp_path_factory):
    return sweep(tiny_activations, tmp_path_factory.mktemp("sweep") / "s", **GRID)


def test_every_point_is_a_dictionary_that_was_judged(done):
    assert len(done.points) == 8
    for point in done.points:
        assert point.fvu["low"] <= point.fvu["value"] <= point.fvu["high"]
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
    assert len(list(picture.iter("{http://www.w3.org/2000/svg}circle"))) == 4, "seeds are averaged"


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
