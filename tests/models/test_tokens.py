"""Tokens as text: alone, in a text and as they come, against the tokenizers' own decoders; ends of turns."""

import pytest
from tokenizers.decoders import DecodeStream
from written import TEXT, TURNS, byte_level, model_of, sentencepiece

from physalis.corpora.characters import CUT, plain
from physalis.models import tiny_model
from physalis.models.text.tokens import Decoder, Pieces, encode, strings, turn_end

KINDS = {"bytes of GPT-2's kind": byte_level, "bytes of Llama's kind": sentencepiece}


@pytest.fixture(params=KINDS)
def tokenizer(request):
    return KINDS[request.param]()


def test_text_comes_as_the_tokenizer_decodes_it(tokenizer):
    (ids,) = encode(tokenizer, [TEXT])
    decoder, stream = Decoder(Pieces(tokenizer)), DecodeStream(skip_special_tokens=False)
    ours = [decoder.add(id) for id in ids]
    assert ours == [stream.step(tokenizer.backend_tokenizer, id) or "" for id in ids]
    assert "".join(ours) == TEXT and decoder.rest() == "" and "" in ours


def test_tiny_bytes_come_as_text():
    model = tiny_model()
    (ids,) = model.encode([TEXT])
    decoder = Decoder(model.pieces)
    assert "".join(decoder.add(id) for id in ids) == TEXT == plain("".join(model.text_strings(ids)))


def test_an_unfinished_character_is_told(tokenizer):
    (ids,) = encode(tokenizer, ["Й"])
    decoder = Decoder(Pieces(tokenizer))
    assert len(ids) == 2 and decoder.add(ids[0]) == "" and decoder.rest() == "\ufffd"
    assert decoder.add(ids[0]) + decoder.add(encode(tokenizer, ["e"])[0][0]) == "\ufffde"


def test_tokens_of_a_text_show_whole_characters(tokenizer):
    model = model_of(tokenizer)
    (ids,) = model.encode([TEXT])
    shown = model.text_strings(ids)
    assert plain("".join(shown)) == TEXT and "\\x" not in "".join(shown)
    assert sum(CUT in each for each in shown) >= 4 and {"🌱", "П"} <= {plain(each).strip() for each in shown}
    alone = strings(tokenizer, ids)
    assert alone == model.token_strings(ids) and any("\\x" in each for each in alone)


def test_half_a_surrogate_pair_is_no_text(tokenizer):
    assert encode(tokenizer, ["e\ud800h", "e"]) == encode(tokenizer, ["e\ufffdh", "e"])
    assert encode(tokenizer, ["e\ud83c\udf31"]) == encode(tokenizer, ["e🌱"])


def test_a_template_ends_a_turn_with_a_token():
    tokenizer = byte_level(template=TURNS)
    assert turn_end(tokenizer) == tokenizer.convert_tokens_to_ids("<end>")
    assert turn_end(byte_level()) is None
    assert turn_end(byte_level(template="{% for m in messages %}{{ m['content'] }}, he said.{% endfor %}")) is None
    assert turn_end(byte_level(template="{{ raise_exception('never') }}")) is None


def test_every_end_that_is_named_ends():
    tokenizer = byte_level(template=TURNS)
    end, eos = tokenizer.convert_tokens_to_ids("<end>"), tokenizer.eos_token_id
    assert model_of(tokenizer).ends == {end, eos}
    assert model_of(tokenizer, ends=[7, 9]).ends == {end, eos, 7, 9}
    assert model_of(byte_level()).ends == {eos}
