"""A published atlas: its files, what is written again and what is not, and its pages as files in a real browser."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from browsing import expect, whole
from faults import serious
from test_kill import check_kills

from physalis import artifact
from physalis.artifact import files
from physalis.atlas import Atlas
from physalis.errors import BadInput
from physalis.web.atlas.histograms import spreads
from physalis.web.publish import site
from physalis.web.publish.site import near_striking, publish, spreads_of
from physalis.web.server.packing import pack, script_json

EVIL = "</script><script>window.stolen = 1</script><!--<script><img src=x onerror='window.stolen = 1'>\u2028&lt;"
SHOWN = [3, 1, 4, 15, 9, 2, 6]


class Poisoned(Atlas):
    """An atlas whose text would like to run."""

    def __getitem__(self, id):
        found = super().__getitem__(id)
        groups = [
            group.model_copy(
                update={
                    "examples": [e.model_copy(update={"tokens": [EVIL] * len(e.tokens)}) for e in group.examples],
                }
            )
            for group in found.groups
        ]
        return found.model_copy(update={"headline": EVIL, "groups": groups})

    def rows(self, ids):
        return [r.model_copy(update={"headline": EVIL, "snippet": [EVIL] * len(r.snippet)}) for r in super().rows(ids)]

    def map(self):
        whole = super().map()
        return whole.model_copy(update={"headline": [EVIL] * len(whole.ids), "regions": [EVIL] * len(whole.regions)})

    def summary(self):
        return super().summary().model_copy(update={"name": EVIL, "text": EVIL})


@pytest.fixture(scope="module")
def folder(tiny_atlas, tmp_path_factory):
    """The site of a few features."""
    out = tmp_path_factory.mktemp("site") / "out"
    publish(tiny_atlas, out, features=SHOWN)
    return out


@pytest.fixture(scope="module")
def poisoned(tiny_atlas, tmp_path_factory):
    out = tmp_path_factory.mktemp("poisoned") / "out"
    publish(Poisoned.open(tiny_atlas.folder), out, features=SHOWN)
    return out


def held(page: Path) -> dict:
    (text,) = re.findall(r'<script type="application/json" id="page">(.*?)</script>', page.read_text(), re.S)
    return json.loads(text)


def unpacked(packed: dict) -> dict:
    between = packed.pop("between")
    for group in packed["groups"]:
        examples = []
        for document, position, text, pairs in group["examples"]:
            tokens, codes = text.split(between), dict(zip(pairs[::2], pairs[1::2], strict=True))
            all_codes = [codes.get(i, 0.0) for i in range(len(tokens))]
            examples.append({"document": document, "position": position, "tokens": tokens, "codes": all_codes})
        group["examples"] = examples
    return packed


def test_every_page_holds_its_record(folder, tiny_atlas):
    for place, id in enumerate(SHOWN):
        page = held(folder / f"features/{id}.html")
        assert unpacked(page["feature"]) == tiny_atlas[id].model_dump(mode="json")
        assert (page["before"], page["after"]) == (SHOWN[place - 1], SHOWN[(place + 1) % len(SHOWN)])
        assert set(page["linked"]) <= set(SHOWN) and {page["before"], page["after"]} <= set(page["linked"])
    listed = held(folder / "list.html")["rows"]
    assert [row["id"] for row in listed] == SHOWN
    for row, of in zip(listed, tiny_atlas.rows(SHOWN), strict=True):
        assert row.pop("words") and row == of.model_dump(mode="json")
    home = held(folder / "index.html")
    assert home["summary"] == tiny_atlas.summary().model_dump(mode="json")
    assert (home["published"], home["total"]) == (len(SHOWN), len(tiny_atlas))
    large = json.loads((folder / "assets/map.js").read_text().removeprefix("physalisMap=").removesuffix(";"))
    assert large["published"] == SHOWN and large["map"]["ids"] == tiny_atlas.map().ids
    np.testing.assert_allclose(large["map"]["density"], tiny_atlas.map().density, rtol=1e-3)


def test_the_manifest_names_every_file(folder, tiny_atlas):
    manifest = artifact.read(folder, "site")
    there = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
    assert there - set(manifest.files) == {"job.json", "manifest.json", ".lock"}
    assert all(artifact.file_digest(folder / name) == sha for name, sha in manifest.files.items())
    assert manifest.inputs == {"atlas": tiny_atlas.manifest.hash}
    assert manifest.facts["bytes"] == sum((folder / name).stat().st_size for name in manifest.files)


def test_a_page_is_small(folder):
    sizes = [(folder / f"features/{id}.html").stat().st_size for id in SHOWN]
    assert max(sizes) <= 25_000


def test_packing_loses_nothing(tiny_atlas):
    feature = max((tiny_atlas[i] for i in range(len(tiny_atlas))), key=lambda f: f.n_fired)
    assert len(json.dumps(pack(feature))) < 0.8 * len(feature.model_dump_json())
    for odd in ("|", "a|^b~", "|^~`¦", "\ue000\n|^~`¦"):
        example = feature.groups[0].examples[0]
        tokens = [odd, *example.tokens[1:]]
        group = feature.groups[0].model_copy(update={"examples": [example.model_copy(update={"tokens": tokens})]})
        strange = feature.model_copy(update={"groups": [group]})
        assert unpacked(pack(strange)) == strange.model_dump(mode="json")


def test_metrics_of_all_features_are_the_atlas_own(tiny_atlas):
    rows = tiny_atlas.rows(range(len(tiny_atlas)))
    assert spreads_of(rows) == spreads(tiny_atlas)
    dead = [row for row in rows if not row.n_fired]
    assert all(metric.histogram.counts == [] for metric in spreads_of(dead))
    few = [row for row in rows if row.n_fired][:5]
    for metric in spreads_of(few):
        assert sum(metric.histogram.counts) == 5
        assert metric.histogram.edges[-1] == max(getattr(row, metric.name) for row in few)


def test_unless_told_the_striking_and_their_neighbours(tiny_atlas):
    striking = tiny_atlas.summary().striking
    assert near_striking(tiny_atlas, 5) == striking[:5]
    taken = near_striking(tiny_atlas, len(striking) + 20)
    assert taken[: len(striking)] == striking and len(taken) == len(set(taken)) == len(striking) + 20
    first = tiny_atlas[striking[0]]
    near = {n.id for n in (*first.nearest, *first.cofiring)} - set(striking)
    assert near <= set(taken[len(striking) :]) or len(near) > 20


def times(folder: Path) -> dict[str, int]:
    return {str(p.relative_to(folder)): p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file()}


def test_run_again_it_writes_what_is_missing_or_changed(tiny_atlas, tmp_path):
    publish(tiny_atlas, tmp_path, features=SHOWN)
    before = times(tmp_path)
    publish(tiny_atlas, tmp_path, features=SHOWN)
    after = times(tmp_path)
    del before[".lock"], after[".lock"]
    assert after == before
    (tmp_path / "features/4.html").unlink()
    (tmp_path / "features/9.html").write_text("torn")
    publish(tiny_atlas, tmp_path, features=SHOWN)
    mended = times(tmp_path)
    changed = {name for name, at in mended.items() if at != before.get(name)}
    assert changed == {"features/4.html", "features/9.html", "manifest.json", ".lock"}
    assert unpacked(held(tmp_path / "features/4.html")["feature"])["id"] == 4
    publish(tiny_atlas, tmp_path, features=[3, 1, 7])
    assert {p.name for p in (tmp_path / "features").iterdir()} == {"1.html", "3.html", "7.html"}
    assert artifact.read(tmp_path, "site").config["features"] == [3, 1, 7]


def test_a_run_that_stopped_goes_on(tiny_atlas, folder, tmp_path, monkeypatch):
    written = []
    write = artifact.write_atomic

    def stops(path, content):
        if len(written) == 12:
            raise KeyboardInterrupt
        written.append(path.name)
        write(path, content)

    for module in (artifact, files):
        monkeypatch.setattr(module, "write_atomic", stops)
    with pytest.raises(KeyboardInterrupt):
        publish(tiny_atlas, tmp_path, features=SHOWN)
    with pytest.raises(BadInput, match="unfinished"):
        artifact.read(tmp_path, "site")
    first, written[:] = set(written), ["-"] * 20
    publish(tiny_atlas, tmp_path, features=SHOWN)
    assert not first & set(written)
    assert artifact.read(tmp_path, "site") == artifact.read(folder, "site")


def publish_all(out: Path, atlas: Path) -> None:
    publish(Atlas.open(atlas), out, features=range(64))


@pytest.mark.slow
def test_publishing_survives_kills(tiny_atlas, tmp_path):
    check_kills(publish_all, tiny_atlas.folder, folder=tmp_path, kills=4, seed=5)


class Tags(HTMLParser):
    """Every tag of a page with its attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict]] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


def test_text_of_an_atlas_ends_no_element(poisoned):
    for page in [*poisoned.glob("*.html"), *poisoned.glob("features/*.html")]:
        text = page.read_text()
        scripts = [attrs for tag, attrs in Tags(text).found if tag == "script"]
        assert [attrs.get("src", attrs.get("id")).rsplit("/")[-1] for attrs in scripts] == [
            "theme.js",
            "page",
            "site.js",
        ]
        assert not [attrs for tag, attrs in Tags(text).found if tag == "img" or any(a.startswith("on") for a in attrs)]
        (inside,) = re.findall(r'id="page">(.*?)</script>', text, re.S)
        assert not set("<>&\u2028\u2029") & set(inside)
        assert page.name == "map.html" or EVIL in json.dumps(json.loads(inside), ensure_ascii=False)
    assert not set("<>&\u2028\u2029") & set((poisoned / "assets/map.js").read_text())


def test_json_inside_a_page_is_the_same_value():
    value = {"a": EVIL, "b": [1.5, None, True], "<k>": "日本 \u2029"}
    assert json.loads(script_json(value)) == value and "<" not in script_json(value)
    with pytest.raises(ValueError):
        script_json({"a": float("nan")})


def test_pages_allow_no_script_but_their_own(folder):
    for page in [*folder.glob("*.html"), *folder.glob("features/*.html")]:
        tags = Tags(page.read_text()).found
        (policy,) = [a["content"] for tag, a in tags if a.get("http-equiv") == "Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; script-src 'self' file:;") and "unsafe" not in policy
        root = "../" if page.parent.name == "features" else ""
        for tag, attrs in tags:
            source = attrs.get("src") or (attrs.get("href") if tag == "link" else None)
            assert source is None or (page.parent / source).exists() and source.startswith(f"{root}assets/")


def test_refusals_are_sentences(tiny_atlas, tmp_path, monkeypatch):
    with pytest.raises(BadInput, match="There is no feature 99999: this atlas has"):
        publish(tiny_atlas, tmp_path / "a", features=[1, 99999])
    with pytest.raises(BadInput, match="no feature to publish"):
        publish(tiny_atlas, tmp_path / "a", features=[])
    assert not (tmp_path / "a").exists()
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(BadInput, match=r"holds something else \(mine.txt\)"):
        publish(tiny_atlas, tmp_path, features=[1])
    monkeypatch.setattr(site, "FRONT", tmp_path / "none")
    with pytest.raises(BadInput, match="not built"):
        publish(tiny_atlas, tmp_path / "b", features=[1])


@pytest.fixture
def open_file(chromium):
    """``open_file(file)``; at the end the console was silent and nothing was asked of any other place."""
    said, strangers, contexts = [], [], []

    def open_(file: Path, *, width: int = 1200, scheme: str = "light", hash: str = ""):
        context = chromium.new_context(
            viewport={"width": width, "height": 800}, color_scheme=scheme, reduced_motion="reduce"
        )
        contexts.append(context)
        page = context.new_page()
        home = f"file://{file.parent.parent if file.parent.name in ('features', 'articles') else file.parent}/"
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda r: strangers.append(r.url) if not r.url.startswith((home, "data:")) else None)
        page.goto(f"file://{file}{hash}")
        whole(page)
        return page

    yield open_
    for context in contexts:
        context.close()
    assert said == []
    assert strangers == []


@pytest.mark.browser
def test_from_the_summary_to_a_feature_and_on(open_file, folder, tiny_atlas):
    page = open_file(folder / "index.html")
    page.wait_for_selector("canvas[data-drawn]")
    page.get_by_role("link", name="Features", exact=True).click()
    page.wait_for_url("**/list.html")
    lines = page.locator("main ol > li > a")
    expect(lines).to_have_count(len(SHOWN))
    densest = sorted(tiny_atlas.rows(SHOWN), key=lambda row: (-row.density, row.id))
    expect(page.locator("main ol > li .id")).to_have_text([str(row.id) for row in densest])
    page.get_by_label("Search features").fill("#15")
    expect(lines).to_have_count(1)
    page.get_by_label("Search features").fill("")
    page.get_by_label("Sort by").select_option("max_code")
    largest = sorted(tiny_atlas.rows(SHOWN), key=lambda row: (-row.max_code, row.id))
    expect(page.locator("main ol > li .id")).to_have_text([str(row.id) for row in largest])
    page.reload()
    expect(page.locator("main ol > li .id")).to_have_text([str(row.id) for row in largest])
    lines.first.click()
    page.wait_for_url(f"**/features/{largest[0].id}.html")
    page.goto(f"file://{folder}/features/3.html")
    page.get_by_role("link", name="Next feature").click()
    page.wait_for_url("**/features/1.html")
    page.keyboard.press("ArrowRight")
    page.wait_for_url("**/features/4.html")
    alive = next(row.id for row in tiny_atlas.rows(SHOWN) if row.region >= 0)
    page.goto(f"file://{folder}/features/{alive}.html")
    page.get_by_role("link", name="Open the map").click()
    page.wait_for_url(f"**/map.html#feature={alive}")
    page.wait_for_selector("canvas[data-drawn]")
    page.locator(".tip b").wait_for()
    page.get_by_role("application").press("Enter")
    page.wait_for_url(f"**/features/{alive}.html")


@pytest.mark.browser
def test_features_that_are_not_published_are_text(open_file, folder, tiny_atlas):
    feature = tiny_atlas[3]
    page = open_file(folder / "features/3.html")
    page.wait_for_selector("canvas[data-drawn]")
    lines = page.get_by_role("list", name="Nearest features").locator("li")
    expect(lines).to_have_count(len(feature.nearest))
    for line, neighbour in zip(lines.all(), feature.nearest, strict=True):
        links = line.locator("a")
        expect(links).to_have_count(int(neighbour.id in SHOWN))
    assert {n.id for n in feature.nearest} - set(SHOWN)


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_fit_a_phone(open_file, folder, scheme):
    for name in ("index", "list", "map", "features/3"):
        page = open_file(folder / f"{name}.html", width=390, scheme=scheme)
        page.wait_for_selector("canvas[data-drawn], main ol > li")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, name
        assert serious(page) == [], name
        paper = page.evaluate("getComputedStyle(document.querySelector('.physalis')).backgroundColor")
        assert (max(map(int, re.findall(r"\d+", paper)[:3])) < 60) == (scheme == "dark")
        assert page.evaluate("document.fonts.check('16px \"Newsreader Variable\"')")


@pytest.mark.browser
def test_hostile_text_stays_text(open_file, poisoned):
    for name in ("index", "list", "map", "features/3"):
        page = open_file(poisoned / f"{name}.html")
        page.wait_for_selector("canvas[data-drawn], main ol > li")
        assert page.evaluate("window.stolen") is None
        assert page.locator("main img").count() == 0
    assert "window.stolen" in page.locator("h1").inner_text()


@pytest.mark.browser
def test_a_script_put_into_a_page_does_not_run(poisoned, chromium):
    text = (
        (poisoned / "index.html")
        .read_text()
        .replace('<div id="app">', '<script>window.stolen = 1</script><div id="app">')
    )
    (poisoned / "broken.html").write_text(text)
    page = chromium.new_page()
    page.goto(f"file://{poisoned}/broken.html")
    page.wait_for_selector("main h1")
    assert page.evaluate("window.stolen") is None
    page.close()
