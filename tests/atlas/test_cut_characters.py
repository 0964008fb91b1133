"""An atlas of text whose characters its tokens cut: whole in examples, headlines, search, exports and on its pages."""

import random
import re

import numpy as np
import pytest
from browsing import serving

from physalis.atlas.build.building import build_atlas
from physalis.atlas.build.rows import Strings
from physalis.atlas.feature_pages import StringTable
from physalis.corpora.characters import CUT, plain
from physalis.dictionaries import TopKConfig
from physalis.exchange.formats.saedashboard import dashboard
from physalis.models.tiny import tiny_model
from physalis.recording import record
from physalis.site import Site
from physalis.training.training import train
from physalis.web import create_app
from physalis.web.atlas.live import beside

WORDS = ("日本", "🌱", "Привет", "the", "本")
BYTES = re.compile(r"\\x[0-9a-f]{2}")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(atlas, model, dictionary, text)."""
    folder, model, drawn = tmp_path_factory.mktemp("cut"), tiny_model(), random.Random(0)
    (folder / "text").mkdir()
    texts = [" ".join(drawn.choices(WORDS, k=8)) for _ in range(250)]
    for i, text in enumerate(texts):
        (folder / "text" / f"{i:03d}.txt").write_text(text)
    [acts] = record(model, str(folder / "text"), [Site("resid_post", 1)], [folder / "acts"], tokens=8_000, context=32)
    train(acts, [TopKConfig(d_in=32, d_out=32, n_features=64, k=4)], [folder / "dictionary"], batch_size=512)
    atlas = build_atlas(folder / "dictionary", folder / "acts", model, folder / "atlas", causes=0)
    return atlas, model, folder / "dictionary", "<|endoftext|>".join(texts)


def test_examples_are_the_text(made):
    atlas, text = made[0], made[3]
    shown = [e for i in range(len(atlas)) for group in atlas[i].groups for e in group.examples]
    assert len(shown) > 100 and any(CUT in "".join(e.tokens) for e in shown)
    for example in shown:
        said = plain("".join(example.tokens))
        ends = re.fullmatch(r"((?:\\x[0-9a-f]{2})*)(.*?)((?:\\x[0-9a-f]{2})*)", said, re.DOTALL)  # a window may cut one
        assert ends is not None and ends[2] in text and all(len(end) <= 12 for end in ends.group(1, 3))
    for row in atlas.rows(range(len(atlas))):
        assert not BYTES.search("".join(row.snippet[4:-3]))


def test_headlines_and_search_have_characters(made):
    atlas = made[0]
    lines = [row.headline for row in atlas.rows(range(len(atlas)))]
    told = [part for line in lines for part in line.split(" · ")]
    cut, rare = ([part for part in told if found(part)] for found in (re.compile("¦[日本🌱При]").search, BYTES.search))
    assert len(cut) > len(rare)  # bytes that no example has beside the rest stay bytes
    assert atlas.list(query="日").total > 0 and atlas.list(query="🌱").total > 0


def test_exports_are_plain(made):
    atlas = made[0]
    for id in atlas.map().ids[:10]:
        tokens = [each["tokens"] for each in dashboard(atlas[id], "text")["activations"]]
        assert tokens and CUT not in "".join(map("".join, tokens))


def test_strings_of_a_text_and_alone():
    sprout = "🌱".encode()
    table = StringTable([0, 1, 5], [sprout[:2], sprout[2:], "\0a\0"])
    assert table.in_text(np.array([[0, 1, 5], [1, 5, -1]])) == [[CUT, "🌱", "\0a\0"], ["\\x8c\\xb1", "\0a\0", ""]]
    assert [table[i] for i in (0, 1, 5, -1)] == ["\\xf0\\x9f", "\\x8c\\xb1", "\0a\0", ""]
    strings = Strings(lambda ids: [{0: sprout[:2], 1: sprout[2:], 5: " of"}[i] for i in ids])
    strings.learn(np.array([0, 1, 5]))
    assert (strings.pair(0, 1), strings.pair(5, 1), strings.pair(-1, 1), strings.pair(5, 5)) == ("🌱", "", "", " of of")
    assert strings.told([1, 5, 0], [[0, 1, -1], [5, 1, 0]]) == ["¦🌱", " of", "🌱¦"]
    assert strings.told([1], [[5, 1]]) == ["\\x8c\\xb1"]


@pytest.mark.browser
def test_pages_show_the_cut(made, browse):
    atlas, model, dictionary, _ = made
    with serving(create_app(atlas, beside(atlas, model, dictionary))) as site:
        page = browse(site, "/try?text=日本 the 🌱")
        page.wait_for_selector("[role=option]")
        tokens = page.locator("[role=option]")
        assert tokens.all_inner_texts()[:7] == ["<bos>", "¦", "¦", "日", "¦", "¦", "本"]
        marks = page.locator("[role=option] i[title]")
        assert marks.count() == 7 and "begins in this token" in (marks.first.get_attribute("title") or "")
        assert tokens.nth(1).get_attribute("aria-label") == "part of a character"
        tokens.nth(3).click()
        assert page.get_by_text("What fires on this kind of token?").count() == 0  # no text is
        id = next(i for i in atlas.map().ids if CUT in "".join(atlas[i].groups[0].examples[0].tokens))
        page = browse(site, f"/features/{id}")
        page.wait_for_selector("[data-example] i[title]")
        assert CUT not in page.locator("[data-example]").first.inner_text()
