"""The tokenizer of words: nothing of a text is lost, and longer words are several tokens."""

from physalis.lab.compiled import Words
from physalis.models.text.corpus import Text

TEXT = "def walking(self, maps):\n    return  12345 + a_b  # Zoë's\n"


def test_tokens_joined_are_the_text():
    words = Words.of([TEXT] * 2)
    (ids,) = words([TEXT])["input_ids"]
    tokens = words.convert_ids_to_tokens(ids)
    assert "".join(tokens) == TEXT
    assert tokens[:4] == ["def", " walkin", "g", "("] and " return" in tokens and "\n" in tokens


def test_what_is_not_there_is_characters():
    words = Words.of([TEXT], size=4)
    assert len(words.get_vocab()) == 4 + len(set(TEXT) - set(words.convert_ids_to_tokens(range(4)))) + 2
    (ids,) = words(["map é"])["input_ids"]
    assert words.convert_ids_to_tokens(ids) == ["m", "a", "p", " ", "\ufffd"]


def test_it_is_a_corpus():
    corpus = Text(Words.of([TEXT]))
    assert corpus.separator_id == corpus.tokenizer.eos_token_id
    assert corpus.pieces(corpus.typed(["def walking"])[0]) == ["def", " walkin", "g"]
