"""Articles: what is written, what is refused and where, and that nothing of the author's runs."""

import json
import re
from pathlib import Path

import pytest
from browsing import expect
from test_lab_pages import all_kinds, verdict
from test_publishing import Tags, held, unpacked
from test_publishing import open_file as open_file

from physalis.errors import BadInput
from physalis.web.articles.articles import read_article
from physalis.web.articles.bibliography import read_bibliography
from physalis.web.publish.site import publish

BIB = r"""
@comment{not this}
@string{acl = "Proc. of " # "ACL"}
@inproceedings{elhage2022,
  author = {Elhage, Nelson and Hume, Tristan and others},
  title  = "Toy Models of {S}uperposition",
  booktitle = acl, year = 2022,
  url = {https://example.org/toy?a=1&b=2}
}
@article{goedel, author={G{\"o}del, Kurt and \'Emile Zola and {\O}re, {\AA}sa}, title={On \emph{formally} undecidable
  propositions -- I}, journal={Monatshefte f\"ur Mathematik}, year={1931}, doi={10.1007/BF01700692}}
@misc{bad, title={<script>window.stolen = 1</script>}, url={javascript:alert(1)},
  eprint={2209.1}}
"""
TEXT = """---
title: Commas & what they do
description: "A feature that fires on commas <b>only</b>"
authors: [Ada Lovelace, Kurt Gödel]
date: 2026-11-23
bibliography: refs.bib
---

Features are directions [@elhage2022, section 3; @goedel].^[Said *often*, measured twice [@elhage2022].] See [](#commas)
and [feature four](feature:4), [this](https://example.org/?a=1&b=2) or [the end](#the-end).

## How it fires

::: feature 3 #commas
It fires on **commas**.

Even here.
:::

::: note
In the margin.
:::

### Others

::: list 1, 4 9
Three of them.
:::

::: experiment lab/ALL-1.json
All kinds of panel.
:::

::: image plot.png
A picture.
:::

| a | b |
|---|--:|
| 1 | 2 |

## The end
"""
PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000d49444154789c636060f80f00010401"
    "005fe5c34b0000000049454e44ae426082"
)


@pytest.fixture
def desk(tmp_path):
    """A folder with everything that an article may name."""
    (tmp_path / "refs.bib").write_text(BIB)
    (tmp_path / "plot.png").write_bytes(PIXEL)
    (tmp_path / "lab").mkdir()
    record = {"page": all_kinds().model_dump(mode="json"), "check": json.loads(json.dumps(verdict("ALL-1").to_dict()))}
    (tmp_path / "lab/ALL-1.json").write_text(json.dumps(record).replace("NaN", "null"))
    (tmp_path / "Commas.md").write_text(TEXT)
    return tmp_path


def write(desk: Path, text: str) -> Path:
    file = desk / "paper.md"
    file.write_text(text)
    return file


def test_an_article_resolves(desk, tiny_atlas):
    article = read_article(desk / "Commas.md", tiny_atlas)
    assert (article.slug, article.title) == ("commas", "Commas & what they do")
    assert article.features == [3, 1, 4, 9]
    feature, rows, experiment = article.figures
    assert unpacked(feature["feature"]) == tiny_atlas[3].model_dump(mode="json")
    assert [row["id"] for row in rows["rows"]] == [1, 4, 9]
    assert experiment["page"] == all_kinds().model_dump(mode="json") and experiment["check"]["passed"]
    (picture,) = article.pictures.items()
    assert picture[1] == PIXEL and re.fullmatch(r"[0-9a-f]{16}\.png", picture[0])
    text = article.html
    assert re.findall(r"<b>(Figure \d)\.</b>", text) == ["Figure 1", "Figure 2", "Figure 3", "Figure 4"]
    assert '<a href="#commas">Figure 1</a>' in text and '<figure id="commas">' in text
    assert '<a href="../features/4.html">feature four</a>' in text
    assert 'href="https://example.org/?a=1&amp;b=2" rel="noreferrer noopener"' in text
    assert '<aside class="note"><p>In the margin.</p>' in text
    assert 'alt="A picture."' in text and f'src="../assets/{picture[0]}"' in text
    assert '<div class="scroll"><table>' in text and '<td class="right">2</td>' in text and "style=" not in text
    assert "Ada Lovelace, Kurt Gödel · 23 November 2026" in text
    assert re.findall(r'<li class="(\w+)"><a href="#([\w-]+)">', text) == [
        ("part", "how-it-fires"), ("deeper", "others"), ("part", "the-end"),
    ]  # fmt: skip


def test_citations_are_numbered_as_they_come(desk, tiny_atlas):
    text = read_article(desk / "Commas.md", tiny_atlas).html
    first, again = re.findall(r'<span class="cite">(.*?)</span>', text)
    assert re.sub(r"<.*?>", "", first) == "[1, section 3; 2]" and re.sub(r"<.*?>", "", again) == "[1]"
    listed = re.findall(r'<li id="(ref-\w+)">(.*?)</li>', text)
    assert [name for name, _ in listed] == ["ref-elhage2022", "ref-goedel"]
    assert 'href="https://example.org/toy?a=1&amp;b=2"' in listed[0][1]
    assert "bad" not in [name for name, _ in listed]


def test_a_bib_file_is_read(desk):
    works = read_bibliography(desk, "refs.bib")
    assert works["elhage2022"].authors == ("Nelson Elhage", "Tristan Hume", "et al")
    assert (works["elhage2022"].title, works["elhage2022"].venue) == ("Toy Models of Superposition", "Proc. of ACL")
    odd = works["goedel"]
    assert odd.authors == ("Kurt Gödel", "Émile Zola", "Åsa Øre")
    assert odd.title == "On formally undecidable propositions – I" and odd.venue == "Monatshefte für Mathematik"
    assert odd.url == "https://doi.org/10.1007/BF01700692"
    assert works["bad"].url == "" and "<script" not in works["bad"].html()


LATEX = {
    r"\aa{}ngstr{\"o}m and \AA ngstr\"om": "ångström and Ångström",
    r"na{\"\i}ve, na{\"{\i}}ve, na\"\i ve": "naïve, naïve, naïve",
    r"H{\d{o}}ng L{\'{\^{e}}}": "Họng Lế",
    r"\v{C}apek, {\L}ukasiewicz, G\"{o}del": "Čapek, Łukasiewicz, Gödel",
    r"Science & {N}ature \& 50% \$5 \{a\}": "Science & Nature & 50% $5 {a}",
    r"``$k$-sparse'' --- {\em a} 1--2~x": "“$k$-sparse” — a 1–2 x",
    r"\href{https://a.b}{It}, \emph{it}": "It, it",
    r"{T}his\footnote": r"This\footnote",
}
"""Values, and how they are read; what pylatexenc cannot take stands as it does, without braces."""


@pytest.mark.parametrize("value", LATEX)
def test_latex_is_read_as_it_looks(tmp_path, value):
    (tmp_path / "x.bib").write_text(f"@misc{{a, title = {{{value}}}, abstract = {{\\href{{}}{{}}}}}}", encoding="utf-8")
    assert read_bibliography(tmp_path, "x.bib")["a"].title == LATEX[value]


def test_strings_are_joined(tmp_path):
    text = r"""@string{ICML = {Conf. on } # "Machine " # {Learning}} @STRING{short = "ICML"}
    @inproceedings{a, title = short # ": " # {{T}oys}, booktitle = "Proc. of " # icml # { (} # Short # ")", year = 20
      # 24, author = {M{\"u}ller, A.} # " and " # "{\O}re, {\AA}sa"}"""
    (tmp_path / "x.bib").write_text(text, encoding="utf-8")
    work = read_bibliography(tmp_path, "x.bib")["a"]
    assert (work.title, work.year) == ("ICML: Toys", "2024") and work.authors == ("A. Müller", "Åsa Øre")
    assert work.venue == "Proc. of Conf. on Machine Learning (ICML)"


def test_what_is_never_closed_is_told_with_its_line(tmp_path):
    (tmp_path / "x.bib").write_text("@misc{a, title={T}}\n\n@misc{b, title={T}\n")
    with pytest.raises(BadInput, match="line 3: a { is never closed"):
        read_bibliography(tmp_path, "x.bib")


def test_a_csl_list_is_read(tmp_path):
    entry = {
        "id": "a", "title": "T", "author": [{"family": "Ångström", "given": "A."}, {"literal": "The Team"}],
        "issued": {"date-parts": [[2024, 5]]}, "container-title": "J", "DOI": "10.1/x",
    }  # fmt: skip
    (tmp_path / "r.json").write_text(json.dumps([entry]))
    work = read_bibliography(tmp_path, "r.json")["a"]
    assert work.words() == "A. Ångström, The Team. T. J, 2024."
    (tmp_path / "twice.json").write_text(json.dumps([entry, entry]))
    with pytest.raises(BadInput, match="'a' twice"):
        read_bibliography(tmp_path, "twice.json")
    for name, text in {"x.json": "{", "y.json": "[1]", "z.bib": "@article{a, title={T"}.items():
        (tmp_path / name).write_text(text)
        with pytest.raises(BadInput, match=f"{name} cannot be read"):
            read_bibliography(tmp_path, name)


REFUSED = {
    "# T\n\n::: feature 99999\n:::": (3, "There is no feature 99999: this atlas has"),
    "# T\n\ntext\n\n::: feature x\n:::": (5, "number of one feature, such as ::: feature 12; received 'x'"),
    "# T\n\n::: feature 1 2\n:::": (3, "number of one feature"),
    "# T\n\n::: list\n:::": (3, "number of features"),
    "# T\n\n::: list 1 -2\n:::": (3, "number of features"),
    "# T\n\n::: movie x\n:::": (3, "no block 'movie'. There are: feature, list, experiment, graph, image, note"),
    "# T\n\n::: feature 1\nnever ended": (3, "::: feature 1 never ends"),
    "# T\n\n:::: feature 1\n::: list 2\n:::\n::::": (4, "a list cannot stand inside a feature"),
    "# T\n\n::: feature 1 #a\n:::\n\n::: feature 2 #a\n:::": (6, "#a is taken"),
    "# T\n\n::: experiment none.json\n:::": (3, "'none.json' is no experiment's record"),
    "# T\n\n::: experiment refs.bib\n:::": (3, "'refs.bib' is no experiment's record"),
    "# T\n\n::: experiment wrong.json\n:::": (3, "of its values do not fit"),
    "# T\n\n::: image none.png\n:::": (3, "no picture 'none.png'"),
    "# T\n\n::: image refs.bib\n:::": (3, "no picture 'refs.bib'"),
    "# T\n\n![x](https://example.org/x.png)": (3, "lies elsewhere"),
    "# T\n\n![x](//example.org/x.png)": (3, "lies elsewhere"),
    "# T\n\ntext\nmore [a](#nothing)": (4, "nothing here is called #nothing"),
    "# T\n\n[a](other.html)": (3, "leads out of the site"),
    "# T\n\n[a](intent:x)": (3, "leads out of the site"),
    "# T\n\n[a](feature:99999)": (3, "There is no feature 99999"),
    "# T\n\n- item\n- more\n  and [@nobody]": (5, "nothing in the bibliography is called 'nobody'"),
    "# T\n\ntext^[a note\nwith [@nobody]]": (4, "nothing in the bibliography is called 'nobody'"),
    "---\ntitle: T\nbibliography: refs.bib\n---\n\n[@nobody]": (6, "It has: bad, elhage2022, goedel"),
    "no title": (1, "the article has no title"),
    "---\ntitle: T\n": (1, "never ends"),
    "---\ntitle: [\n---\n": (2, "the head is not YAML"),
    "---\n- a\n---\n": (2, "the head must be lines such as title"),
    "# T\n\n| a |\n|---|\n| [@nobody] |": (5, "called 'nobody'"),
}


@pytest.mark.parametrize("text", REFUSED)
def test_what_does_not_resolve_is_refused_with_its_line(desk, tiny_atlas, text):
    (desk / "wrong.json").write_text('{"page": {"id": 3}}')
    line, sentence = REFUSED[text]
    with pytest.raises(BadInput, match=re.escape(f"paper.md, line {line}: ")) as refused:
        read_article(write(desk, text), tiny_atlas)
    assert sentence in str(refused.value)


def test_other_refusals(desk, tiny_atlas, tmp_path):
    with pytest.raises(BadInput, match="the head says 'layout', which means nothing"):
        read_article(write(desk, "---\ntitle: T\nlayout: x\n---\n"), tiny_atlas)
    with pytest.raises(BadInput, match="cannot be read as Markdown"):
        read_article(desk / "none.md", tiny_atlas)
    (desk / "sub").mkdir()
    (desk / "sub/commas.md").write_text("# T")
    with pytest.raises(BadInput, match="Two articles would both be articles/commas"):
        publish(tiny_atlas, desk / "out", articles=[desk / "Commas.md", desk / "sub/commas.md"])


OURS = ["../assets/theme.js", None, "../assets/site.js"]
ATTACKS = """# <script>window.stolen = 1</script>

<script>window.stolen = 1</script> <img src=x onerror="window.stolen = 1"> <svg/onload=window.stolen=1>

[a](javascript:window.stolen=1) [b](JaVaScRiPt:window.stolen=1) [c](data:text/html,<script>window.stolen=1</script>)
[d](https://example.org/"onmouseover="window.stolen=1) [e](<https://example.org/ onclick=x>) &lt;script&gt;
^[<script>window.stolen = 1</script>]

## <img src=x onerror=window.stolen=1>

::: feature 1 #x
</figcaption></figure><script>window.stolen = 1</script>
:::

<div id="page">{"view": "summary"}</div>

```html
</code></pre><script>window.stolen = 1</script>
```
"""


def test_nothing_of_the_author_runs(desk, tiny_atlas):
    write(desk, ATTACKS)
    publish(tiny_atlas, desk / "out", features=[1], articles=[desk / "paper.md"])
    page = (desk / "out/articles/paper.html").read_text()
    tags = Tags(page).found
    assert [attrs.get("src") for tag, attrs in tags if tag == "script"] == [
        "../assets/theme.js",
        None,
        "../assets/site.js",
    ]
    assert not [attrs for _, attrs in tags if any(name.startswith("on") for name in attrs)]
    assert not [tag for tag, _ in tags if tag in ("img", "svg", "iframe", "object", "style", "base", "form")]
    links = [attrs["href"] for tag, attrs in tags if tag == "a"]
    assert all(link.startswith(("https://example.org/", "#")) for link in links)
    assert [attrs["id"] for _, attrs in tags if attrs.get("id") == "page"] == ["page"]
    assert held(desk / "out/articles/paper.html")["view"] == "article"


def test_articles_are_published_with_what_they_show(desk, tiny_atlas):
    manifest = publish(tiny_atlas, desk / "out", features=[7], articles=[desk / "Commas.md"])
    assert manifest.config["features"] == [7, 3, 1, 4, 9]
    assert {"articles/commas.html", "features/9.html"} <= set(manifest.files)
    told = held(desk / "out/index.html")["articles"]
    assert told == [
        {
            "path": "articles/commas.html",
            "title": "Commas & what they do",
            "description": "A feature that fires on commas <b>only</b>",
        }
    ]
    before = (desk / "out/features/9.html").stat().st_mtime_ns
    (desk / "Commas.md").write_text(TEXT.replace("Even here.", "Even there."))
    publish(tiny_atlas, desk / "out", features=[7], articles=[desk / "Commas.md"])
    assert "Even there." in (desk / "out/articles/commas.html").read_text()
    assert (desk / "out/features/9.html").stat().st_mtime_ns == before


@pytest.mark.browser
def test_an_article_lives(open_file, desk, tiny_atlas):
    publish(tiny_atlas, desk / "out", features=[7], articles=[desk / "Commas.md"])
    page = open_file(desk / "out/index.html")
    page.get_by_role("link", name="Commas & what they do").click()
    page.wait_for_url("**/articles/commas.html")
    expect(page.locator("h1")).to_have_text("Commas & what they do")
    figures = page.locator("main figure")
    expect(figures).to_have_count(4)
    expect(figures.nth(0).locator("figcaption")).to_contain_text("Figure 1. It fires on commas.")
    lines = figures.nth(0).locator("[data-example]")
    assert lines.count() > 0
    page.get_by_role("slider", name="Activations of feature 3").focus()
    page.keyboard.press("ArrowRight")
    figures.nth(0).get_by_text("show the strongest").wait_for()
    expect(figures.nth(1).locator("li")).to_have_count(3)
    slider = figures.nth(2).get_by_role("slider")
    before = slider.get_attribute("aria-valuetext")
    slider.focus()
    page.keyboard.press("ArrowRight")
    assert slider.get_attribute("aria-valuetext") != before
    assert page.evaluate("document.querySelector('main img').naturalWidth") == 1
    page.locator("main figure").nth(0).get_by_role("link").first.click()
    page.wait_for_url("**/features/3.html")
    page.goto(f"file://{desk}/out/articles/commas.html#the-end")
    expect(page.get_by_role("heading", name="The end")).to_be_in_viewport()


@pytest.mark.browser
def test_notes_stand_in_the_margin_where_there_is_one(open_file, desk, tiny_atlas):
    publish(tiny_atlas, desk / "out", features=[7], articles=[desk / "Commas.md"])
    wide = open_file(desk / "out/articles/commas.html")
    body = wide.locator(".body").bounding_box()
    for note in wide.locator(".note").all():
        assert note.bounding_box()["x"] >= body["x"] + body["width"]
    assert wide.evaluate("document.documentElement.scrollWidth") <= 1200
    for scheme in ("light", "dark"):
        phone = open_file(desk / "out/articles/commas.html", width=390, scheme=scheme)
        assert phone.evaluate("document.documentElement.scrollWidth") <= 390
        assert phone.locator(".note").first.bounding_box()["width"] > 250


@pytest.mark.browser
def test_attacks_do_not_run(open_file, desk, tiny_atlas):
    write(desk, ATTACKS)
    publish(tiny_atlas, desk / "out", features=[1], articles=[desk / "paper.md"])
    page = open_file(desk / "out/articles/paper.html")
    page.locator("main figure").wait_for()
    assert page.evaluate("window.stolen") is None


@pytest.mark.browser
def test_the_text_reads_without_a_script(chromium, desk, tiny_atlas):
    publish(tiny_atlas, desk / "out", features=[7], articles=[desk / "Commas.md"])
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"file://{desk}/out/articles/commas.html")
    assert "Features are directions" in page.locator("main").inner_text()
    assert f"Feature 3: {tiny_atlas[3].headline}" in page.locator("main").inner_text()
    context.close()
