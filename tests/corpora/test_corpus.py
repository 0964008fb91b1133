"""The door to what a model reads: what text answers, what a corpus answers that says no more than it must, and what of
it is refused."""

import numpy as np
import pytest
from pictures import SHADES, SIDE, Pictures, pixel_model

from physalis.corpora import documents, files
from physalis.corpora.corpus import Corpus
from physalis.errors import BadInput
from physalis.models import Model, load_corpus
from physalis.models.families import TINY
from physalis.models.text.corpus import Text
from physalis.models.text.tokens import encode, fingerprint
from physalis.models.tiny import ByteTokenizer, TinyConfig, untrained
from physalis.recording import record
from physalis.site import Site
from physalis.training.planning import plan

SITE, PIXELS = Site("resid_post", 1), SIDE * SIDE


class Begun(Pictures):
    """Pictures of which contexts begin with an id of their own."""

    bos_id = len(SHADES)
    ids = range(len(SHADES) + 1)

    def pieces(self, ids):
        return ["<begin>" if i == self.bos_id else SHADES[i] for i in ids]


class Silent(Corpus):
    """Says what it must."""

    name, ids = "sounds", range(3)

    def documents(self, source, *, field=None, trail=None):
        return iter(())

    def encoded(self, documents):
        return iter(documents)

    def pieces(self, ids):
        return ["-^~"[i] for i in ids]


def test_text_answers_as_its_parts_do(tiny, tiny_text):
    corpus, source = tiny.corpus, str(tiny_text)
    assert isinstance(corpus, Text) and corpus.name == "text" and corpus.shape is None
    assert [*corpus.documents(source)] == [*documents(source)] and corpus.files(source) == files(source)
    assert corpus.files("owner/name") is None and corpus.at_hand == "stdlib"
    ids = next(corpus.encoded(["", " \n", "ab"]))
    assert ids.dtype == np.int32 and ids.tolist() == [97, 98, 257]
    assert corpus.typed(["ab"]) == encode(tiny.tokenizer, ["ab"]) == tiny.encode(["ab"]) == [[97, 98]]
    assert corpus.fingerprint == fingerprint(ByteTokenizer()) == load_corpus("tiny").fingerprint
    assert set(corpus.ids) == set(range(258)) and set(corpus.ends) == {257} == tiny.ends
    assert corpus.around(32, 16) == (32, 16)
    corpus.check_context(7, bos=True)  # any will do


def test_a_source_of_text_has_a_name_and_no_path(tiny, tiny_text, tmp_path):
    named = tiny.corpus.named
    assert named(str(tiny_text)) == {"name": tiny_text.name} and named("owner/name") == {"name": "owner/name"}
    assert set(named("stdlib")) == {"name", "python"}
    for name in "ab":
        (tmp_path / f"{name}.txt").write_text(name)
    assert named(f"{tmp_path}/a.txt, {tmp_path}/b.txt") == {"name": "a.txt, b.txt"}
    with pytest.raises(BadInput, match="No text file matches"):
        named(str(tmp_path / "c.txt"))


def test_who_says_no_more_than_it_must_is_answered_for():
    corpus = Silent()
    assert (corpus.shape, corpus.bos_id, corpus.separator_id, corpus.files("x")) == (None,) * 4
    assert corpus.named("x") == {"name": "x"} and not corpus.ends
    with pytest.raises(BadInput, match="reads sounds, which cannot be typed"):
        corpus.typed(["-"])
    with pytest.raises(BadInput, match="No sounds are at hand"):
        _ = corpus.at_hand
    model = Model(untrained(TinyConfig(vocab_size=3)), corpus, name="ears", family=TINY)
    with pytest.raises(BadInput, match="cannot be typed"):
        model.encode(["-"])
    with pytest.raises(BadInput, match="No sounds are at hand"):
        plan(model, SITE)
    assert model.tokenizer is None and not model.ends


def test_a_fingerprint_tells_what_ids_mean():
    class Inked(Pictures):
        def pieces(self, ids):
            return [SHADES[-1 - i] for i in ids]

    assert Pictures().fingerprint == Pictures().fingerprint
    assert len({each().fingerprint for each in (Pictures, Inked, Begun, Silent)}) == 4


def test_a_context_of_pictures_may_begin_with_an_id_of_its_own(tmp_path):
    config = TinyConfig(vocab_size=len(SHADES) + 1, context=PIXELS + 1, n_layers=2)
    model = Model(untrained(config), Begun(), name="begun", family=TINY)
    options = {"tokens": 20 * (PIXELS + 1), "bos": True}
    with pytest.raises(BadInput, match="8 x 8 and one that contexts begin with, .* Give a context of 65"):
        record(model, "made:20", [SITE], [tmp_path / "a"], context=PIXELS, **options)
    (acts,) = record(model, "made:20", [SITE], [tmp_path / "a"], context=PIXELS + 1, **options)
    assert (acts.tokens[:, 0] == Begun.bos_id).all()
    whole = {tuple(ids[1:]) for ids in acts.tokens.tolist()}
    assert whole == {tuple(ids.tolist()) for ids in Pictures().encoded(Pictures().documents("made:20"))}
    assert acts.manifest.facts["dropped"]["bos"] == len(acts.tokens) == 20


def test_a_model_brings_its_corpus():
    assert isinstance(pixel_model().corpus, Pictures)
    assert not pixel_model().known_ids.logical_not().any()
