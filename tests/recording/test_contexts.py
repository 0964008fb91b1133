"""The text of a recording: which part is held out, and that another text is never taken for it."""

import gzip
import hashlib
import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from physalis import artifact
from physalis.errors import BadInput
from physalis.models.tiny import tiny_model
from physalis.recording import jobs, record
from physalis.site import Site

SITE = Site("resid_post", 1)
OPTIONS = dict(tokens=6400, context=32, batch=8, shard_rows=640)


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def model():
    return tiny_model()


@pytest.fixture(scope="module")
def recorded(text, tmp_path_factory):
    return record(tiny_model(), text, [SITE], [tmp_path_factory.mktemp("recorded")], **OPTIONS)[0]


def contents(folder):
    files = (p for p in folder.rglob("*") if p.is_file() and p.name != artifact.LOCK)
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


@pytest.mark.parametrize("bos", [True, False])
def test_held_out_documents_are_drawn_from_all_over_the_text(model, tmp_path, bos):
    rows = [f"document {i} says " + "abc " * (i % 30 + 5) for i in range(400)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps({"text": row}) + "\n" for row in rows))
    source, options = str(tmp_path / "rows.jsonl"), {**OPTIONS, "tokens": 20_000, "bos": bos}
    acts = record(model, source, [SITE], [tmp_path / "a"], **options)[0]
    train, held = (part.documents[part.contexts] for part in (acts.train, acts.held_out))
    facts = acts.manifest.facts
    assert len(train) + len(held) == len(acts.tokens) == 20_000 // 32 and len(held) == pytest.approx(62, abs=4)
    assert not set(train.flat) & set(held.flat) and facts["n_shared_documents"] == 0
    assert facts["n_held_out_documents"] == len(set(held.flat)) >= 15
    assert facts["n_documents"] == len(set(acts.documents.flat))
    places = np.unique(held) / train.max()
    assert (np.histogram(places, bins=4, range=(0, 1))[0] >= 4).all(), "some from each quarter"
    for part in (train, held):  # each side is whole documents in their order, whatever lies between them
        assert (np.diff(part.reshape(-1)) >= 0).all()
    first = 1 if bos else 0
    some = acts.tokens[acts.held_out.contexts][:, first:].reshape(-1)
    owner = held[:, first:].reshape(-1)
    for i in np.unique(owner)[1:-1]:
        assert bytes(some[owner == i][:-1].astype(np.uint8)).decode() == rows[i], "the very document"
    again = record(model, source, [SITE], [tmp_path / "b"], **options, seed=1)[0]
    other = set(again.documents[again.held_out.contexts].flat)
    assert len(other & set(held.flat)) < len(other) / 2, "another seed draws others"


def test_a_text_of_one_document_is_said_to_be_one(model, tmp_path, capsys):
    (tmp_path / "one.txt").write_text("some words of it " * 700)
    acts = record(model, str(tmp_path / "one.txt"), [SITE], [tmp_path / "a"], **OPTIONS)[0]
    facts = acts.manifest.facts
    assert [facts[f"n_{kind}documents"] for kind in ("", "held_out_", "shared_")] == [1, 1, 1]
    assert "The text is one document: a part of it is held out" in capsys.readouterr().err
    assert len(acts.held_out.contexts) in (19, 20, 21)


SOURCES = {
    "file": "a.txt", "folder": "", "glob": "*.txt", "deep glob": "**/*.txt", "list": "a.txt, b.txt",
    "rows": "rows.jsonl", "packed": "rows.jsonl.gz", "parquet": "rows.parquet",
}  # fmt: skip


def write_corpus(folder, words):
    """Nine files of texts made of ``words`` letters, as plain text and as rows."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "sub").mkdir(parents=True)
    texts = [(f"{i} " + words) * 150 for i in range(6)]
    for name, text in zip(("a", "b", "c", "sub/d"), texts, strict=False):
        (folder / f"{name}.txt").write_text(text)
    rows = "".join(json.dumps({"text": text}) + "\n" for text in texts)
    (folder / "rows.jsonl").write_text(rows)
    (folder / "rows.jsonl.gz").write_bytes(gzip.compress(rows.encode(), mtime=0))
    pq.write_table(pa.table({"text": texts}), folder / "rows.parquet")


@pytest.mark.parametrize("kind", SOURCES)
@pytest.mark.parametrize("size", ["same size", "longer"])
def test_another_text_under_the_same_name_is_refused(model, tmp_path, kind, size):
    corpus, out = tmp_path / "corpus", tmp_path / "out"
    source = ", ".join(str(corpus / part.strip()) for part in SOURCES[kind].split(","))
    options = {**OPTIONS, "tokens": 1280}
    write_corpus(corpus, "one two ")
    record(model, source, [SITE], [out], **options)
    before = contents(out)
    write_corpus(corpus, "one two ")
    record(model, source, [SITE], [out], **options)  # written anew, with the same words
    write_corpus(corpus, "two one " if size == "same size" else "three four ")
    with pytest.raises(BadInput, match=r"out holds a recording of another text: .* is another file than it was"):
        record(model, source, [SITE], [out], **options)
    assert contents(out) == before


def test_only_what_was_read_of_a_text_must_stay(model, tmp_path):
    corpus, outs = tmp_path / "corpus", [tmp_path / "part", tmp_path / "all"]
    corpus.mkdir()
    for i in range(100):
        (corpus / f"a{i:03d}.txt").write_text(f"{i} some words here " * 3)
    sizes = ({**OPTIONS, "tokens": 640}, {**OPTIONS, "tokens": 10**6})
    for out, options in zip(outs, sizes, strict=True):
        record(model, str(corpus), [SITE], [out], **options)
    (corpus / "z.txt").write_text("more")  # behind what the first read, and before the end that the second met
    record(model, str(corpus), [SITE], [outs[0]], **sizes[0])
    with pytest.raises(BadInput, match="there were 100 files, now 101"):
        record(model, str(corpus), [SITE], [outs[1]], **sizes[1])
    (corpus / "0.txt").write_text("first")
    with pytest.raises(BadInput, match="where a000.txt was read, 0.txt stands now"):
        record(model, str(corpus), [SITE], [outs[0]], **sizes[0])


def test_what_cannot_be_read_claims_nothing(model, text, tmp_path):
    out, rows = tmp_path / "out", tmp_path / "own.jsonl"
    rows.write_text("".join(json.dumps({"id": i, "content": "some words " * 40}) + "\n" for i in range(30)))
    options = {**OPTIONS, "tokens": 1280}
    for source, match in (("nofile.jsonl", "No text file matches"), (str(rows), "There is no field 'text' in line 1")):
        with pytest.raises(BadInput, match=match):
            record(model, source, [SITE], [out], **options)
        assert not out.exists()
    with pytest.raises(BadInput, match="A context has 512 tokens; tiny reads at most 256. Choose a smaller --context"):
        record(model, "nofile.jsonl", [SITE], [out], tokens=5000, context=512)
    assert not out.exists()
    found = record(model, str(rows), [SITE], [out], **options, field="content")[0]
    assert len(found.tokens) == 40


def test_a_folder_without_a_shard_is_taken_over(model, text, tmp_path, monkeypatch):
    out = tmp_path / "out"
    monkeypatch.setattr(jobs, "collect", None)
    with pytest.raises(TypeError):
        record(model, text, [SITE], [out], **OPTIONS)
    assert (out / "layout.json").exists() and not list(out.glob("shard*"))
    monkeypatch.undo()
    found = record(model, text, [SITE], [out], **{**OPTIONS, "tokens": 1280})[0]
    assert len(found.tokens) == 40 and found.manifest.config["tokens"] == 1280


@pytest.mark.parametrize("name", ["documents.npy", "tokens.npy", "text.json", "layout.json", "shard-000001.json"])
@pytest.mark.parametrize("harm", ["cut", "other bytes"])
def test_a_damaged_folder_is_mended(model, text, recorded, tmp_path, monkeypatch, name, harm):
    whole, done = jobs.collect, []

    def stopping(*args, **kwargs):
        if len(done) == 4:
            raise KeyboardInterrupt
        done.append(args[3].number)
        return whole(*args, **kwargs)

    monkeypatch.setattr(jobs, "collect", stopping)
    with pytest.raises(KeyboardInterrupt):
        record(model, text, [SITE], [tmp_path], **OPTIONS)
    monkeypatch.undo()
    damaged = tmp_path / name
    held = damaged.read_bytes()
    damaged.write_bytes(held[: len(held) // 2] if harm == "cut" else b"\xff" * len(held))
    record(model, text, [SITE], [tmp_path], **OPTIONS)
    assert contents(tmp_path) == contents(recorded.folder)
