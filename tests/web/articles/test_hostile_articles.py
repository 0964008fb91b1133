"""Articles of strangers: what they name lies beside them and is what it says, and nothing in them takes all memory."""

import json
import os
import re
from pathlib import Path

import pytest
from test_articles import PIXEL, write
from test_articles import desk as desk

from physalis.artifact import untrusted
from physalis.errors import BadInput
from physalis.web.articles import bibliography, markdown, pictures, resolving
from physalis.web.articles.articles import read_article
from physalis.web.articles.bibliography import read_bibliography
from physalis.web.publish.site import publish

BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{b}: &{b} [{','.join(['*' + a] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)
NESTED = "".join(f"{':' * n} note\n" for n in range(60, 3, -1)) + "".join(f"{':' * n}\n" for n in range(4, 61))


def link(desk: Path) -> None:
    (desk / "secret").write_bytes(PIXEL)
    (desk / "plot.png").unlink()
    (desk / "plot.png").symlink_to(desk / "secret")


def linked_folder(desk: Path) -> None:
    (desk / "elsewhere").mkdir()
    (desk / "plot.png").rename(desk / "elsewhere/plot.png")
    (desk / "plots").symlink_to(desk / "elsewhere")


def pipe(desk: Path) -> None:
    (desk / "plot.png").unlink()
    os.mkfifo(desk / "plot.png")


def folder(desk: Path) -> None:
    (desk / "plot.png").unlink()
    (desk / "plot.png").mkdir()


def other(desk: Path) -> None:
    (desk / "plot.png").write_text("root:$6$...")


def script(desk: Path) -> None:
    (desk / "plot.png").write_text("<svg xmlns='http://www.w3.org/2000/svg'><script>1</script></svg>")


def nothing(desk: Path) -> None:
    pass


@pytest.mark.parametrize(
    ("make", "named", "said"),
    [
        (link, "plot.png", "it is a link"), (linked_folder, "plots/plot.png", "it is a link"),
        (pipe, "plot.png", "a pipe"), (folder, "plot.png", "a folder"), (other, "plot.png", "something else than PNG"),
        (script, "plot.png", "something else than PNG"), (nothing, "../plot.png", "does not lie in"),
        (nothing, "/etc/passwd.png", "does not lie in"), (nothing, "x" * 300 + ".png", "cannot be read"),
        (nothing, "plot.png/../../plot.png", "does not lie in"), (nothing, "a\0.png", "no picture"),
    ],
    ids=lambda value: value.__name__ if callable(value) else None,
)  # fmt: skip
@pytest.mark.parametrize("text", ["# T\n\n::: image {}\n:::", "# T\n\n![x]({})"], ids=["block", "inline"])
def test_a_picture_is_a_file_beside_the_article(desk, tiny_atlas, make, named, said, text):
    make(desk)
    (desk / "sub").mkdir()
    with pytest.raises(BadInput, match="line 3: there is no picture") as refused:
        read_article(write(desk, text.format(named.replace("\0", "%00"))), tiny_atlas)
    assert said in str(refused.value) and len(str(refused.value)) < 1000


def test_a_picture_is_read_once_and_published_as_it_was(desk, tiny_atlas, monkeypatch):
    article = read_article(desk / "Commas.md", tiny_atlas)
    (name,) = article.pictures
    publish(tiny_atlas, desk / "out", features=[7], articles=[desk / "Commas.md"])
    assert (desk / "out/assets" / name).read_bytes() == PIXEL
    monkeypatch.setattr(pictures, "MOST", 10)
    with pytest.raises(BadInput, match="plot.png has more than 10 bytes"):
        read_article(desk / "Commas.md", tiny_atlas)
    monkeypatch.undo()
    monkeypatch.setattr(resolving, "MOST_PICTURES", 10)
    with pytest.raises(BadInput, match="the pictures up to here have more than 10 bytes"):
        read_article(desk / "Commas.md", tiny_atlas)


@pytest.mark.parametrize("start", [b"GIF89a", b"\xff\xd8\xff\xe0", b"RIFF....WEBP", b"....ftypavif"], ids=repr)
def test_pictures_are_known_by_their_first_bytes(tmp_path, start):
    (tmp_path / "x.png").write_bytes(start + b"...")
    assert not pictures.read_picture(tmp_path, "x.png").name.endswith(".png")


@pytest.mark.parametrize("named", ["refs.bib", "lab/ALL-1.json"])
@pytest.mark.parametrize("how", ["link", "pipe", "outside"])
def test_bibliographies_and_records_lie_beside_the_article_too(desk, tiny_atlas, named, how):
    file = desk / named
    file.rename(desk / "moved")
    if how == "link":
        file.symlink_to(desk / "moved")
    elif how == "pipe":
        os.mkfifo(file)
    else:
        named = f"{desk}/moved"
    block = f"---\nbibliography: {named}\n---\n# T" if "lab" not in str(file) else f"# T\n\n::: experiment {named}\n:::"
    with pytest.raises(BadInput, match=r"a link|a pipe|does not lie in"):
        read_article(write(desk, block), tiny_atlas)


@pytest.mark.parametrize(
    "check", [float("nan"), {"passed": True, "seconds": float("inf")}, [], 3, {"passed": "x"}], ids=str
)
def test_a_record_holds_what_a_page_can(desk, tiny_atlas, check):
    said = json.loads((desk / "lab/ALL-1.json").read_text()) | {"check": check}
    (desk / "lab/ALL-1.json").write_text(json.dumps(said))
    with pytest.raises(BadInput, match="line 3: 'lab/ALL-1.json' is no experiment's record"):
        read_article(write(desk, "# T\n\n::: experiment lab/ALL-1.json\n:::"), tiny_atlas)


HEADS = {
    BOMB: "it refers to parts of itself",
    "title: *a\n": "it refers to parts of itself",
    "title: !!python/object/apply:os.system [ls]\n": "it names types of its own",
    "title: !!binary aGVsbG8=\n": "it names types of its own",
    "title: " + "[" * 200 + "]" * 200 + "\n": "nests more than 100 deep",
    "title: " + "[" * 20_000 + "\n": "nests more than 100 deep",
    "title: " + "9" * 5000 + "\n": "the head is not YAML",
    "title: 1" + ":59" * 3000 + "\n": "title: ",
    "date: 2026-99-99\n": "the head is not YAML",
    "title: T\nauthors: 3\ndescription: [a, b]\n": "description: ['a', 'b'], which is no line of text",
    "title: {a: {b: {c: 1}}}\n": "which is no line of text",
    "? [a, b]\n: c\n": "the head is not YAML",
    "title: T\nx: y\n" * 10_000: "the head has more than 65,536 characters",
    "9" * 1000 + "a: b\n": "which means nothing here",
}


@pytest.mark.parametrize("head", HEADS, ids=range(len(HEADS)))
def test_a_head_is_words_alone(desk, tiny_atlas, head):
    with pytest.raises(BadInput, match=re.escape("paper.md")) as refused:
        read_article(write(desk, f"---\n{head}---\n# T"), tiny_atlas)
    assert HEADS[head] in str(refused.value) and len(str(refused.value)) < 600


TEXTS = {
    "# T\n\n::: feature " + "9" * 5000 + "\n:::": "number of one feature",
    "# T\n\n::: list 1, " + "9" * 5000 + "\n:::": "number of features",
    "# T\n\n[a](feature:" + "9" * 5000 + ")": "number of one feature",
    "# T\n\n" + "[*" * 20_000: "a paragraph has more than 20,000 characters",
    "# T\n\n" + NESTED: "blocks stand more than 4 deep",
    "# T\n\n::: image " + "x" * 5000 + "\n:::": "there is no picture",
    "# T\n\n::: " + "x" * 5000 + "\n:::": "there is no block",
    "# T\n\n[a](#" + "x" * 5000 + ")": "nothing here is called",
    "# T\n\n[a](x" + "x" * 5000 + ")": "leads out of the site",
    "# T\n\n[@" + "x" * 5000 + "]": "nothing in the bibliography",
}  # fmt: skip


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
def test_a_text_is_refused_with_its_line_and_no_more_words_than_needed(desk, tiny_atlas, text):
    with pytest.raises(BadInput, match=r"paper.md, line \d+: ") as refused:
        read_article(write(desk, text), tiny_atlas)
    assert TEXTS[text] in str(refused.value) and len(str(refused.value)) < 600


@pytest.mark.parametrize("depth", [3, 500])
def test_notes_in_notes_end(desk, tiny_atlas, depth):
    article = read_article(write(desk, "# T\n\ntext" + "^[a" * depth + "]" * depth), tiny_atlas)
    assert article.html.count('class="note"') == min(depth, markdown.DEEPEST)


def test_a_file_that_is_no_text_is_a_sentence(desk, tiny_atlas, monkeypatch):
    os.mkfifo(desk / "pipe.md")
    with pytest.raises(BadInput, match="cannot be read as Markdown: .*pipe.md is a pipe"):
        read_article(desk / "pipe.md", tiny_atlas)
    for path, said in {"/dev/zero": "a device", desk: "a folder", "x\0y": "null"}.items():
        with pytest.raises(BadInput, match=said):
            read_article(path, tiny_atlas)
    (desk / "bytes.md").write_bytes(b"# T \xff")
    with pytest.raises(BadInput, match="it must be text in UTF-8"):
        read_article(desk / "bytes.md", tiny_atlas)
    monkeypatch.setattr(markdown, "MOST", 100)
    with pytest.raises(BadInput, match="has more than 100 bytes"):
        read_article(desk / "Commas.md", tiny_atlas)


BIBS = {
    "x.json": [
        "[" * 100_000, '[{"id": "a", "issued": {"date-parts": [[]]}}]', "{}", "[3]", "null", '[{"id": [1]}', "1e999",
        '[{"id": "a", "author": 3}]', '[{"id": "a", "author": [3]}]', '[{"title": "T"}]',
    ],
    "x.bib": [
        "@string{a0 = " + '"' + "x" * 60_000 + '"}' + "".join(f"@string{{a{n + 1} = a{n} # a{n}}}" for n in range(40)),
        "@article{a, title={" * 20, "@article{k, t={" + "{" * 5000,
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "text"), [(name, text) for name, texts in BIBS.items() for text in texts], ids=range(13)
)
def test_a_bibliography_that_is_none_is_a_sentence(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    with pytest.raises(BadInput, match=name) as refused:
        read_bibliography(tmp_path, name)
    assert len(str(refused.value)) < 600


def test_a_long_word_in_a_bibliography_is_read_once(tmp_path):
    (tmp_path / "x.bib").write_text("@misc{a, title={T}, " + "y" * 200_000 + "}")
    assert read_bibliography(tmp_path, "x.bib")["a"].title == "T"
    assert bibliography.MOST > 1 << 20


def test_sentences_cut_what_they_are_shown():
    for value in ("x" * 10_000, [["x" * 1000] * 1000] * 1000, {n: n for n in range(10_000)}, 10**9999, {"a": 10**5000}):
        assert len(untrusted.shown(value)) <= untrusted.LONGEST_SHOWN


def test_json_is_bounded(tmp_path):
    (tmp_path / "x.json").write_text(json.dumps({"a": "x" * 100}))
    with pytest.raises(BadInput, match="more than 50 bytes"):
        untrusted.read_bytes(tmp_path / "x.json", most=50)
    for text in ("[" * 200_000, "{", "9" * 5000, '{"a":' * 100_000):
        with pytest.raises(BadInput, match="x.json cannot be read") as refused:
            untrusted.parse_json(text, "x.json")
        assert len(str(refused.value)) < 300
