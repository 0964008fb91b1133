"""The lab's pages: what is published and kept, and the pages in a real browser, served and as plain files."""

import json
import re
from typing import get_args

import pytest
from browsing import WIDGET, expect, serving
from fastapi.testclient import TestClient
from faults import serious
from tree import ROOT
from typescript import NAMES, fields, interfaces

from physalis import artifact
from physalis.errors import BadInput
from physalis.lab import pages, publishing
from physalis.lab.checks import Check, Experiment, Finding
from physalis.lab.experiments.toy_models import superposition
from physalis.lab.pages import Axis, Cells, Dots, Lines, Page, Rule, Series, Slider, Stacks, Vectors, Words, frames
from physalis.web.lab import publishing as site
from physalis.web.lab.app import create_lab_app
from physalis.web.server.shell import STATIC

EVIL = "</script><script>window.stolen = 1</script>"


def all_kinds() -> Page:
    """A page of every kind of panel."""
    sliders = [
        Slider(name="sparsity", values=["0", ".5", ".9", ".99"], start=1),
        Slider(name="model", values=["ReLU", "linear"], alike=False),
    ]

    def panels(at: int, kind: int) -> list[pages.Panel]:
        turn = [1.0 + at, -0.5, 0.25 * kind]
        axis, log = Axis(label="step"), Axis(label="loss", log=True)
        line = Series(
            name="model", x=[0, 1, 2], y=[1, 0.1 * (at + 1), 0.01], low=[0.9, 0.09, 0.009], high=[1.1, 1, 0.1]
        )
        gap = Series(name="seed", x=[0, 1, 2], y=[0.5, float("nan"), 0.2], faint=True)
        return [
            Vectors(title="Directions", x=turn, y=[1, 0.5, -1], weight=[1, 0.5, 0], names=list("abc"), linked=True),
            Cells(title="Gram", values=[turn, turn[::-1]], scale="diverging", rows="feature", row_ticks=["a", "b"]),
            Cells(
                title="Phases", values=[[0, 1], [at % 2, 2]], scale="classes", classes=["none", "alone", "shared"],
                lines=[Series(name="theory", x=[0, 1], y=[0, 1])], columns="importance", column_ticks=["low", "high"],
                ground=0,
            ),
            Lines(
                title="Loss", x=axis, y=log, series=[line, gap], rules=[Rule(at=0.3, label="chance")],
                follows="sparsity",
            ),
            Dots(title="Levels", x=axis, y=Axis(label="D"), series=[line], rules=[Rule(at=0.5, label="pair")]),
            Stacks(title="Neurons", bars=["n 0", "n 1"], parts=[[1, at], [0.5, -1]], value=Axis(label="weight")),
            Words(title="Verdicts", columns=["word", "number"], rows=[["red", str(at)], [EVIL, "2"]]),
        ]  # fmt: skip

    return Page(
        id="ALL-1", title="All kinds", idea="A page of every kind of panel. It is made up.\n\nSecond paragraph.",
        original="There is none.", source="Nobody 2000, On Nothing", link="https://example.org/", sliders=sliders,
        frames=frames(sliders, panels), panels=[Cells(title="Still", values=[[0, 1]], scale="sequential")],
    )  # fmt: skip


def verdict(id: str) -> Check:
    findings = (Finding.over("a number over seeds", [1, 2, 4], low=1), Finding("another", 0.5, 0.5, 0.5))
    control = (Finding("the same", 0, low=1), Finding("what could not be measured", float("nan"), low=1))
    return Check(id, "What is claimed.", "Nobody 2000", findings, "a stand-in", control)


def cheap() -> Page:
    """TMS-1 as it is, of models that are hardly trained."""
    with pytest.MonkeyPatch.context() as patch:
        full = superposition.superposition
        patch.setattr(superposition, "superposition", lambda **options: full(**{**options, "steps": 50}))
        return superposition.explore()


MADE = (
    Experiment("ALL-1", lambda: verdict("ALL-1"), fast=True, explore=all_kinds),
    Experiment("TMS-1", lambda: verdict("TMS-1"), fast=True, explore=cheap),
)


@pytest.fixture(scope="module")
def known():
    """MADE instead of the experiments."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(site, "EXPERIMENTS", MADE)
        patch.setattr("physalis.lab.experiments.EXPERIMENTS", MADE)
        yield


@pytest.fixture(scope="module")
def lab(known, tmp_path_factory):
    """A published lab's folder."""
    folder = tmp_path_factory.mktemp("lab") / "site"
    site.publish_lab(folder)
    return folder


def test_records_are_inside_the_pages_and_beside_them(lab):
    beside = json.loads((lab / "ALL-1.json").read_text())
    (text,) = re.findall(r'id="page">(.*?)</script>', (lab / "ALL-1.html").read_text(), re.S)
    inside = json.loads(text)
    assert inside["experiment"] == beside and Page.model_validate(beside["page"]) == all_kinds()
    check = json.loads(json.dumps(verdict("ALL-1").to_dict()))
    check["control_findings"][1]["value"] = None  # NaN
    assert beside["check"] == check | {"seconds": beside["check"]["seconds"]}
    assert [each["id"] for each in inside["order"]] == ["ALL-1", "TMS-1"]
    assert len((lab / "TMS-1.html").read_text()) < 1_000_000
    manifest = artifact.read(lab, "lab")
    assert {"index.html", "TMS-1.html", "TMS-1.json", "assets/lab.js"} <= set(manifest.files)
    assert all(artifact.file_digest(lab / name) == sha for name, sha in manifest.files.items())


def test_what_is_there_is_kept(lab, known, monkeypatch):
    ran = []

    def counts(experiment, tell=publishing.tell):
        ran.append(experiment.id)
        return tell(experiment)

    monkeypatch.setattr(publishing, "tell", counts)
    site.publish_lab(lab)
    assert ran == []
    (lab / "ALL-1.json").write_text((lab / "ALL-1.json").read_text().replace('"version":"', '"version":"0.'))
    before = (lab / "TMS-1.json").read_bytes()
    site.publish_lab(lab, ["ALL-1"])
    assert ran == ["ALL-1"] and (lab / "TMS-1.json").read_bytes() == before
    assert "TMS-1.html" in artifact.read(lab, "lab").files


def test_a_page_is_made_again_when_what_it_stands_on_has_changed():
    found = publishing.sources("physalis.lab.experiments.toy_models.geometry", {})
    assert {"physalis.lab.checks", "physalis.lab.toys.superposition.wide", "physalis.lab.toys.descent"} <= set(found)
    assert "physalis.lab.toys.transformers.attention" not in found
    assert "def descend" in found["physalis.lab.toys.descent"]


def test_a_run_that_stopped_goes_on(known, tmp_path, monkeypatch):
    ran = []

    def stops(experiment, tell=publishing.tell):
        ran.append(experiment.id)
        if experiment.id == "TMS-1" and ran.count("TMS-1") == 1:
            raise KeyboardInterrupt
        return tell(MADE[0])

    monkeypatch.setattr(publishing, "tell", stops)
    with pytest.raises(KeyboardInterrupt):
        site.publish_lab(tmp_path)
    with pytest.raises(BadInput, match="unfinished"):
        create_lab_app(tmp_path)
    site.publish_lab(tmp_path)
    assert ran == ["ALL-1", "TMS-1", "TMS-1"]


def test_refusals_are_sentences(known, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(BadInput, match=r"holds something else \(mine.txt\)"):
        site.publish_lab(tmp_path)
    with pytest.raises(BadInput, match="no experiment 'TMS-99'"):
        site.publish_lab(tmp_path / "new", ["TMS-99"])
    with pytest.raises(BadInput, match="holds no physalis published lab"):
        create_lab_app(tmp_path)


def test_it_is_served_with_nothing_from_elsewhere(lab):
    client = TestClient(create_lab_app(lab))
    for path in ("/", "/TMS-1.html", "/TMS-1.json", "/assets/lab.js"):
        answer = client.get(path)
        assert answer.status_code == 200
        assert "unsafe" not in answer.headers["content-security-policy"]
    assert client.get("/TMS-2.html").status_code == 404


def test_typescript_knows_the_records():
    text = (ROOT / "frontend/src/lib/records/lab.ts").read_text()
    written = interfaces("lab")
    models = {n: m for n, m in vars(pages).items() if isinstance(m, type) and issubclass(m, pages.Record)}
    del models["Record"]
    for name, model in models.items():
        assert written[name] == fields(model, {**NAMES, pages.Panel: "Panel"}), name
    check = verdict("ALL-1").to_dict()
    assert set(written["Check"]) == set(check) and set(written["Finding"]) == set(check["findings"][0])
    assert re.search(r"type Panel = ([^;]+);", text)[1] == " | ".join(kind.__name__ for kind in get_args(pages.Panel))


@pytest.fixture(scope="module")
def served(lab):
    with serving(create_lab_app(lab)) as site:
        yield site


@pytest.fixture
def open_page(chromium, lab):
    """``open_page(address)``; at the end the console was silent and nothing was asked of any other place."""
    said, strangers, contexts = [], [], []

    def open_(url: str, *, width: int = 1200, scheme: str = "light", motion: str = "reduce"):
        context = chromium.new_context(
            viewport={"width": width, "height": 800}, color_scheme=scheme, reduced_motion=motion
        )
        contexts.append(context)
        page = context.new_page()
        home = url.rsplit("/", 1)[0]
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda r: strangers.append(r.url) if not r.url.startswith((home, "data:")) else None)
        page.goto(url)
        page.wait_for_selector("main h1")
        return page

    yield open_
    for context in contexts:
        context.close()
    assert said == []
    assert strangers == []


SHOWN = """[...document.querySelectorAll('main svg')].map((e) => e.innerHTML).join()
  + [...document.querySelectorAll('canvas')].map((c) => c.toDataURL()).join()"""


@pytest.mark.browser
def test_sliders_move_by_mouse_and_keys(open_page, served):
    page = open_page(f"{served}/ALL-1.html")
    slider = page.get_by_role("slider", name="sparsity")
    assert slider.get_attribute("aria-valuetext") == ".5"
    before = page.evaluate(SHOWN)
    slider.focus()
    page.keyboard.press("ArrowRight")
    assert slider.get_attribute("aria-valuetext") == ".9"
    expect(page.locator("output")).to_have_text(".9")
    assert page.url.endswith("#2.0")
    expect(page.locator(".mark")).to_have_count(1)
    after = page.evaluate(SHOWN)
    assert after != before
    box = slider.bounding_box()
    page.mouse.click(box["x"] + box["width"] - 9, box["y"] + box["height"] / 2)
    assert slider.get_attribute("aria-valuetext") == ".99"
    expect(page.locator("table").first).to_contain_text("3")
    page.get_by_role("radio", name="ReLU").focus()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("radio", name="linear")).to_be_checked()
    assert page.evaluate(SHOWN) not in (before, after)
    page.reload()
    expect(page.get_by_role("slider")).to_have_attribute("aria-valuetext", ".99")
    assert page.evaluate("window.stolen") is None


@pytest.mark.browser
def test_it_can_be_played(open_page, served):
    page = open_page(f"{served}/ALL-1.html", motion="no-preference")
    page.get_by_role("button", name="Play through sparsity").click()
    expect(page.get_by_role("slider")).to_have_attribute("aria-valuetext", ".99")
    expect(page.get_by_role("button", name="Play through sparsity")).to_be_visible()


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_are_plain_files_and_fit_a_phone(open_page, lab, scheme):
    page = open_page(f"file://{lab}/index.html", width=390, scheme=scheme)
    expect(page.locator("main li")).to_have_count(2)
    page.get_by_role("link", name="More features than dimensions").click()
    page.wait_for_selector("canvas[data-drawn]")
    assert page.evaluate("document.fonts.check('16px \"Newsreader Variable\"')")
    for name in ("index", "ALL-1", "TMS-1"):
        page.goto(f"file://{lab}/{name}.html")
        page.wait_for_selector("main h1")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, name
        assert serious(page) == [], name
        paper = page.evaluate("getComputedStyle(document.querySelector('.physalis')).backgroundColor")
        assert (max(map(int, re.findall(r"\d+", paper)[:3])) < 60) == (scheme == "dark")
        sizes = "[...document.querySelectorAll('main svg text')].map(e => parseFloat(getComputedStyle(e).fontSize))"
        assert min(page.evaluate(sizes), default=16) >= 12, name


@pytest.mark.browser
def test_every_panel_says_what_it_is_and_shows_values(open_page, served):
    page = open_page(f"{served}/ALL-1.html")
    for title in ("Directions", "Gram", "Phases", "Loss", "Levels", "Neurons", "Still"):
        drawing = page.get_by_role("img", name=re.compile(f"^{title}\\."))
        box = drawing.bounding_box()
        assert box["height"] > 40
    expect(page.get_by_role("region", name="Verdicts").locator("td").nth(2)).to_have_text(EVIL)
    page.locator("canvas").first.hover(position={"x": 10, "y": 10})
    expect(page.locator(".readout")).to_contain_text("feature a, column 0")
    page.get_by_role("img", name=re.compile("^Neurons")).hover()
    expect(page.locator(".readout")).to_contain_text("n ")


@pytest.mark.browser
def test_the_check_is_told(open_page, served):
    page = open_page(f"{served}/ALL-1.html")
    rows = page.locator("figure tbody tr")
    expect(rows.nth(0)).to_contain_text("3 seeds: 1 to 4")
    expect(rows.nth(0)).to_contain_text("at least 1")
    expect(rows.nth(1)).to_contain_text("exactly 0.5")
    expect(rows.nth(2)).to_contain_text("a stand-in")
    expect(rows.nth(3)).to_contain_text("fails")
    expect(rows.nth(4)).to_contain_text("–")
    page.get_by_role("link", name="More features than dimensions").click()
    page.wait_for_url("**/TMS-1.html")


@pytest.mark.browser
def test_it_works_as_a_notebook_widget(chromium):
    context = chromium.new_context(reduced_motion="reduce")
    page = context.new_page()
    wrong = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    records = {"page": all_kinds().model_dump(mode="json"), "check": verdict("ALL-1").to_dict()}
    traits = {"view": "experiment", "records": records, "map": None, "path": "", "opens": False}
    page.evaluate(WIDGET, [(STATIC.parent / "widgets/lab.js").read_text(), traits])
    expect(page.locator("h1")).to_have_text("All kinds")
    slider = page.get_by_role("slider")
    figure = page.locator("svg[role=img]").first
    before = figure.inner_html()
    slider.focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_function("([figure, before]) => figure.innerHTML != before", arg=[figure.element_handle(), before])
    context.close()
    assert wrong == []


def test_notebooks_show_pages():
    pytest.importorskip("anywidget", reason="anywidget is not installed: pip install -e '.[notebook]'")
    from physalis.web.notebooks.widgets import show

    alone, judged = show(all_kinds()), show(MADE[0])
    assert alone.records == {"page": all_kinds().model_dump(mode="json"), "check": None}
    assert judged.view == "experiment" and judged.records["check"]["passed"]
    with pytest.raises(BadInput, match="no view of 'str'"):
        show("TMS-1")
    panels = all_kinds().frames[0].panels
    sheet, one, verdict = show(panels), show(panels[0]), show(MADE[0].run())
    assert sheet.view == one.view == "panels" and len(sheet.records["panels"]) == len(panels)
    assert one.records["panels"] == [panels[0].model_dump(mode="json")]
    assert verdict.view == "check" and verdict.records["check"]["id"] == MADE[0].id
    with pytest.raises(BadInput, match="no view of 'list'"):
        show([panels[0], "a word"])
