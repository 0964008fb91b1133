"""A corpus that is no text, from record to a page: whatever is read, only its corpus is asked."""

import re

import numpy as np
import pytest
from fastapi.testclient import TestClient
from pictures import SHADES, SIDE, Pictures, picture, pixel_model

from physalis import artifact
from physalis.atlas import Atlas
from physalis.atlas.build.building import build_atlas
from physalis.dictionaries import TopKConfig
from physalis.errors import BadInput
from physalis.evaluation import evaluate
from physalis.models.sources import loading
from physalis.recording import record, stream
from physalis.search import Reader, contrast
from physalis.site import Site
from physalis.steering.texts import chat
from physalis.training.training import train
from physalis.web import create_app
from physalis.web.atlas.live import beside

SITE, N = Site("resid_post", 1), 200
PIXELS = SIDE * SIDE
OPTIONS = {"tokens": N * PIXELS, "context": PIXELS, "bos": False, "shard_rows": 2048}

pytestmark = pytest.mark.usefixtures("one_thread")


def drawn(seed: int) -> str:
    """The picture of that number as its positions are shown."""
    return "".join(SHADES[i] for i in picture(np.random.default_rng(seed)).reshape(-1))


@pytest.fixture(scope="module")
def model():
    return pixel_model()


@pytest.fixture(scope="module")
def recorded(model, tmp_path_factory):
    return record(model, f"made:{N}", [SITE], [tmp_path_factory.mktemp("pictures") / "acts"], **OPTIONS)[0]


@pytest.fixture(scope="module")
def dictionary(one_thread, recorded):
    out = recorded.folder.parent / "sae"
    config = TopKConfig(d_in=recorded.d, d_out=recorded.d, n_features=48, k=4)
    train(recorded, [config], [out], batch_size=256, epochs=1)
    return out


@pytest.fixture(scope="module")
def judged(model, recorded, dictionary):
    out = recorded.folder.parent / "eval"
    return evaluate(dictionary, recorded.folder, model, out=out, splice_tokens=10 * PIXELS)


@pytest.fixture(scope="module")
def atlas(model, recorded, dictionary, judged):
    out = recorded.folder.parent / "atlas"
    return build_atlas(dictionary, recorded.folder, model, out, evaluation=out.parent / "eval", causes=2)


@pytest.fixture(scope="module")
def client(model, dictionary, recorded, atlas):
    return TestClient(create_app(atlas, beside(atlas, model, dictionary, recorded.folder)))


def test_a_context_is_a_picture_and_some_are_held_out(model, recorded):
    assert len(recorded.tokens) == N and recorded.tokens.shape[1] == PIXELS
    for ids, documents in zip(recorded.tokens, recorded.documents, strict=True):
        (number,) = set(documents.tolist())
        assert "".join(model.text_strings(ids.tolist())) == drawn(number)
    train, held = (set(part.documents[part.contexts].flat) for part in (recorded.train, recorded.held_out))
    assert len(held) == 20 and len(train) == N - 20 and not train & held
    assert recorded.manifest.config["corpus"] == "pictures"
    assert recorded.manifest.inputs["tokenizer"] == model.corpus.fingerprint


def test_a_recording_of_text_says_nothing_new(tiny_activations):
    assert "corpus" not in tiny_activations.manifest.config


def test_it_is_recorded_once_and_streamed_alike(model, recorded):
    (again,) = record(model, f"made:{N}", [SITE], [recorded.folder], **OPTIONS)
    assert again.manifest.hash == recorded.manifest.hash
    assert (stream(model, f"made:{N}", [SITE], **OPTIONS).tokens == recorded.tokens).all()
    with pytest.raises(BadInput, match="already holds"):
        record(model, f"made:{N + 1}", [SITE], [recorded.folder], **OPTIONS)


def test_what_does_not_fit_is_refused(model, tmp_path):
    with pytest.raises(BadInput, match="one of the pictures, 8 x 8 positions; received 32. Give a context of 64"):
        record(model, "made:9", [SITE], [tmp_path / "a"], **{**OPTIONS, "context": 32})
    with pytest.raises(BadInput, match="There are no pictures 'texts/'"):
        record(model, "texts/", [SITE], [tmp_path / "a"], **OPTIONS)
    with pytest.raises(BadInput, match="neither a BOS nor an end"):
        record(model, "made:9", [SITE], [tmp_path / "a"], **{**OPTIONS, "bos": True})
    assert not (tmp_path / "a").exists()


def test_pictures_of_another_size_are_refused(tmp_path):
    class Mixed(Pictures):
        def encoded(self, documents):
            return (ids[: 60 if i == 5 else None] for i, ids in enumerate(super().encoded(documents)))

    model = pixel_model()
    model.corpus = Mixed()
    with pytest.raises(BadInput, match="One of the pictures has 60 positions, and should have 64"):
        record(model, "made:9", [SITE], [tmp_path / "a"], **OPTIONS)


def test_what_is_held_out_judges(judged):
    assert judged.facts["n_held_out"] == 20 * PIXELS and judged.facts["documents"]["held_out"] == 20
    assert judged.facts["metrics"]["fvu"]["value"] < 0.5
    assert judged.facts["metrics"]["ce"]["value"] > 0, "spliced: the model predicts the next pixel"


def test_examples_are_whole_pictures(atlas):
    opened = Atlas.open(atlas.folder)
    assert opened.summary().document_shape == [SIDE, SIDE]
    assert opened.summary().held_out and opened.summary().text == f"made:{N}"
    n = 0
    for feature in (opened[id] for id in range(len(opened))):
        seen = [each.document for each in feature.examples]
        assert len({drawn(number) for number in seen}) == len(seen), "each picture once"
        for each in feature.examples:
            assert "".join(each.tokens) == drawn(each.document)
            assert each.codes[each.position] > 0
            n += 1
    assert n > 200
    bright = opened.list(query=SHADES[-1]).rows
    assert bright and all(SHADES[-1] in {each.token for each in opened[row.id].top_tokens} for row in bright[:3])
    assert [id for id in range(len(opened)) if opened[id].causes], "the model was edited for some"


def test_a_page_shows_them(client, atlas):
    id = atlas.summary().striking[0]
    said = client.get(f"/features/{id}.json").json()
    assert "".join(said["groups"][0]["examples"][0]["tokens"]) == drawn(said["groups"][0]["examples"][0]["document"])
    page = client.get(f"/features/{id}").text
    assert re.search(r'"document_shape": ?\[8, ?8\]', page) and SHADES[-1] in page
    assert client.get("/features", params={"query": SHADES[-1]}).status_code == 200


def test_a_drawing_is_tried(client, model, dictionary):
    drawing = "\n".join(drawn(3)[i : i + SIDE] for i in range(0, PIXELS, SIDE))
    found = client.post("/api/try", json={"text": drawing}).json()
    assert "".join(token["token"] for token in found["tokens"]) == drawn(3)
    here, *there = Reader.open(dictionary, model).read([drawing, drawn(4), drawn(5)])
    assert found["n_fired"] == len(here.summed().ids) > 0
    assert contrast([here], there).n_features
    refused = client.post("/api/try", json={"text": "a cat"})
    assert refused.status_code == 400 and "Pictures are drawn of" in refused.text


def test_what_needs_a_tokenizer_says_so(model):
    assert model.tokenizer is None
    with pytest.raises(BadInput, match="no chat template"):
        chat(model, [{"role": "user", "content": "?"}])


def test_the_command_line_records_them(physalis, monkeypatch, tmp_path):
    monkeypatch.setitem(loading.MADE, "pixels", pixel_model)
    words = ("--text", "made:40", "--tokens", 40 * PIXELS, "--context", PIXELS, "--no-bos")
    code, out, err = physalis("record", "pixels", "--site", SITE, *words, "--out", tmp_path / "acts")
    assert code == 0, err
    assert artifact.read(tmp_path / "acts", "activations").config["corpus"] == "pictures"
    words = ("--text", "made:40", "--no-bos", "--out", tmp_path / "b")
    code, _, err = physalis("record", "pixels", "--site", SITE, *words)
    assert code == 2 and "Give a context of 64" in err


@pytest.mark.browser
@pytest.mark.parametrize("scheme, width", [("light", 1200), ("dark", 390)])
def test_they_are_drawn(browse, client, atlas, scheme, width):
    from browsing import fits, serving  # needs playwright, which whoever has no browser may lack

    with serving(client.app) as site:
        page = browse(site, f"/features/{atlas.summary().striking[0]}", width=width, scheme=scheme)
        shown = page.locator(".picture").first
        tops = shown.locator(".token").evaluate_all("all => all.map(e => Math.round(e.getBoundingClientRect().top))")
        assert len(tops) == PIXELS and len(set(tops)) == SIDE, "rows of eight"
        assert shown.locator(".token.peak").count() == 1
        assert fits(page, width)
