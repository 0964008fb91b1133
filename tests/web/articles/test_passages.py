"""Passages: what counts as an article's words, and comments on them and on figures in its HTML, whoever wrote them."""

import random
import re

import pytest
from test_articles import PIXEL
from test_comments_page import EVIL, Stage
from test_publishing import Tags

from physalis.people.comments.anchors import FeatureAnchor, FigureAnchor, PassageAnchor
from physalis.web.articles import passages
from physalis.web.articles.articles import read_article
from physalis.web.articles.passages import with_comments, words_of
from physalis.web.publish.site import publish

TEXT = """# Commas & others

Features are *directions* & nothing "more",
so to say.^[A note < others, see [here](https://example.org/).] They <b>fire</b> on [commas](feature:3), often.

::: feature 3 #first
What **fires**.
:::

::: image plot.png #übrige
:::

| a | b |
|---|---|
| `x < y` | 🦉 |

- one
- two

They fire again.
"""
WORDS = (
    'Features are directions & nothing "more", so to say. They <b>fire</b> on commas, often. Figure 1. What fires. '
    "Figure 2. a b x < y 🦉 one two They fire again. A note < others, see here."
)
HOSTILE = '"></a><script>alert(1)</script><img src=x onerror=alert(2)>'


@pytest.fixture
def article(tmp_path, tiny_atlas):
    (tmp_path / "plot.png").write_bytes(PIXEL)
    file = tmp_path / "commas.md"
    file.write_text(TEXT)
    return read_article(file, tiny_atlas)


@pytest.fixture
def stage(tmp_path) -> Stage:
    return Stage(tmp_path / "atlas.comments")


def passage(exact: str, **around: str) -> PassageAnchor:
    return PassageAnchor(article="commas", exact=exact, **around)


def marked(html: str) -> list[tuple[str, str, str]]:
    """Element, id and inner HTML of each mark."""
    return re.findall(r'<(a|mark) class="passage" id="([\w-]+)".*?>(.*?)</\1>', html, re.S)


def test_the_words_of_an_article(article):
    assert " ".join(words_of(article.html).split()) == WORDS
    assert "  " not in words_of(article.html) and "\n" not in words_of(article.html)


def test_what_can_be_commented_on(article):
    there = [passage('nothing "more", so to say. They'), passage("see here"), FigureAnchor(figure="commas.first")]
    gone = [
        passage("1A note"), passage("other words"), PassageAnchor(article="other", exact="Features"),
        FigureAnchor(figure="commas.second"), FigureAnchor(figure="first"), FigureAnchor(figure="other.first"),
    ]  # fmt: skip
    assert [passages.has(article, anchor) for anchor in there + gone] == [True] * 3 + [False] * 6


def test_words_lead_to_comments_and_back(article, stage):
    first = stage.published("Why *nothing*?", passage("directions & nothing"))
    within = stage.published("Is that a link?", passage("on commas, often"))
    again = stage.published("The second of them.", passage("fire", prefix="They "))
    shares = stage.published("More than that.", passage('nothing "more"'))
    lost = stage.published("It was there.", passage("words that went"))
    html = with_comments(article, stage.comments.published())
    assert marked(html) == [
        ("a", f"passage-{first.id}", "directions"), ("a", f"passage-{first.id}-2", " &amp; nothing"),
        ("a", f"passage-{shares.id}", " &quot;more&quot;"),
        ("a", f"passage-{within.id}", "on "), ("mark", f"passage-{within.id}-2", "commas"),
        ("a", f"passage-{within.id}-3", ", often"), ("a", f"passage-{again.id}", "fire"),
    ]  # fmt: skip
    assert f'id="passage-{again.id}" title="Comment by Émilie' in html.partition("two")[2]  # not the first "fire"
    quotes = re.findall(r"<blockquote>(?:<a href=\"#([\w-]+)\">)?(.*?)(?:</a>)?</blockquote>", html)
    assert quotes == [
        (f"passage-{first.id}", "directions &amp; nothing"), (f"passage-{within.id}", "on commas, often"),
        (f"passage-{again.id}", "fire"), (f"passage-{first.id}-2", "nothing &quot;more&quot;"), ("", "words that went"),
    ]  # fmt: skip
    assert html.count("These words are not in the article any more.") == 1
    ids = [attrs["id"] for _, attrs in Tags(html).found if "id" in attrs]
    assert len(ids) == len(set(ids)) and f"comment-{lost.id}" in ids
    targets = [attrs["href"][1:] for _, attrs in Tags(html).found if attrs.get("href", "").startswith("#")]
    assert set(targets) <= set(ids)


def test_figures_lead_to_comments_and_back(article, stage):
    shown = stage.published("On code, too?", FigureAnchor(figure="commas.first"))
    stage.published("And in verse?", FigureAnchor(figure="commas.first"))
    stage.published("Gone.", FigureAnchor(figure="commas.second"))
    html = with_comments(article, stage.comments.published())
    assert f'<span class="talk"><a href="#comment-{shown.id}">2 comments</a></span></figcaption>' in html
    assert html.count('<p class="on">On <a href="#first">Figure 1</a></p>') == 2
    assert '<p class="on">On a figure that is not in the article any more</p>' in html


def test_marks_change_no_word_and_cross_no_element(article, stage):
    words, rng = words_of(article.html), random.Random(0)
    for _ in range(40):
        start = rng.randrange(len(words) - 1)
        exact = words[start : start + rng.randrange(1, 60)]
        if exact.strip():
            stage.published("x", passage(exact, prefix=words[:start][-40:]))
    html = with_comments(article, stage.comments.published())
    assert words_of(html) == words and len(marked(html)) > 10
    open_ = []
    for end, tag in re.findall(r"<(/?)([a-z]\w*)[^>]*>", html):
        if end:
            assert open_.pop() == tag
        elif tag not in ("br", "hr", "img"):
            assert tag != "a" or "a" not in open_
            open_.append(tag)
    assert open_ == []
    for _, _, inside in marked(html):
        assert inside.strip() and "<" not in inside


def test_an_article_without_comments_is_as_it_was(article, stage):
    stage.published("Elsewhere.", FeatureAnchor(feature=3))
    stage.published("Elsewhere.", PassageAnchor(article="comma", exact="Features"))
    stage.published("Elsewhere.", FigureAnchor(figure="first"))
    stage.comments.write(stage.guest, passage("Features"), "This one waits.")
    assert with_comments(article, stage.comments.published()) is article.html


def test_nothing_that_a_stranger_wrote_runs(tmp_path, tiny_atlas, stage):
    """Neither words that an article quotes, nor those of a comment, a name, or a passage that is not there."""
    file = tmp_path / "commas.md"
    file.write_text(f"# T\n\nThey wrote {HOSTILE} and `{HOSTILE}`.\n")
    guest = stage.invitations.invite(HOSTILE[:100], HOSTILE).invitation
    for anchor in (passage(f"wrote {HOSTILE} and"), passage(HOSTILE * 3), FigureAnchor(figure="commas.none")):
        stage.comments.publish(stage.owner, stage.comments.write(guest, anchor, EVIL + HOSTILE).id, 1)
    article = read_article(file, tiny_atlas)
    html = with_comments(article, stage.comments.published())
    assert len(marked(html)) == 1 and words_of(html) == words_of(article.html)
    publish(tiny_atlas, tmp_path / "out", features=[1], articles=[file], comments=stage.comments.published())
    tags = Tags((tmp_path / "out/articles/commas.html").read_text()).found
    assert [attrs.get("src") for tag, attrs in tags if tag == "script"] == [
        "../assets/theme.js", None, "../assets/site.js",
    ]  # fmt: skip
    assert not [tag for tag, _ in tags if tag in ("img", "svg", "iframe", "object", "style", "base", "form")]
    assert not [attrs for _, attrs in tags if any(name.startswith("on") or name == "style" for name in attrs)]
    links = [attrs["href"] for tag, attrs in tags if tag == "a"]
    assert links and all(link.startswith("#") for link in links)


def test_a_site_has_what_is_published_and_follows_it(tmp_path, tiny_atlas, stage):
    (tmp_path / "commas.md").write_text("# Commas\n\nThey fire on commas.\n")

    def page() -> str:
        publish(
            tiny_atlas, tmp_path / "out", features=[1], articles=[tmp_path / "commas.md"],
            comments=stage.comments.published(),
        )  # fmt: skip
        return (tmp_path / "out/articles/commas.html").read_text()

    assert "remarks" not in page()
    shown = stage.published("On *all* of them?", passage("fire on commas"))
    assert '<main id="article">' in page() and "On <em>all</em> of them?" in page() and len(marked(page())) == 1
    (tmp_path / "commas.md").write_text("# Commas\n\nThey fire on semicolons.\n")
    assert "not in the article any more" in page() and marked(page()) == []
    stage.comments.withdraw(stage.guest, shown.id)
    assert "remarks" not in page()
