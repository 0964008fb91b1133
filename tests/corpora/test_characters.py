"""Characters that tokens cut: whole in a text, with the cut marked; bytes alone."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from physalis.corpora.characters import CUT, alone, in_text, parts, piece, plain


def cut(text: str, places: list[int]) -> tuple[list, list[int]]:
    """The text's bytes in pieces, as tokens hold them, and where each ends."""
    data = text.encode()
    ends = sorted({min(place, len(data)) for place in places} | {0, len(data)})
    return [piece(data[start:end]) for start, end in itertools.pairwise(ends)], ends[1:]


def test_a_character_stands_on_the_token_that_completes_it():
    sprout = "🌱".encode()
    tokens = [piece(b" " + sprout[:2]), piece(sprout[2:3]), piece(sprout[3:] + b"!"), "日"]
    assert in_text(tokens) == [" " + CUT, CUT, "🌱!", "日"]
    assert [alone(each) for each in tokens] == [" \\xf0\\x9f", "\\x8c", "\\xb1!", "日"]
    two = "日本".encode()
    assert in_text([piece(two[:2]), piece(two[2:4]), piece(two[4:])]) == [CUT, "日" + CUT, "本"]


def test_what_is_no_character_stays_bytes():
    start, end = "🌱".encode()[:2], "🌱".encode()[2:]
    assert in_text([end, "a", start]) == ["\\x8c\\xb1", "a", "\\xf0\\x9f"]  # a window's ends cut it
    assert in_text([start, "🌱", end]) == ["\\xf0\\x9f", "🌱", "\\x8c\\xb1"]
    assert in_text([start, start + end]) == ["\\xf0\\x9f", "🌱"] and in_text([]) == []


@given(st.text(), st.lists(st.integers(0, 60)))
def test_joined_they_are_the_text(text, places):
    text = text.replace(CUT, "")
    tokens, ends = cut(text, places)
    shown = in_text(tokens)
    assert len(shown) == len(tokens) and plain("".join(shown)) == text
    between = {0, *itertools.accumulate(len(character.encode()) for character in text)}
    assert [string.endswith(CUT) for string in shown] == [end not in between for end in ends]
    assert all(isinstance(token, bytes) or string == token for token, string in zip(tokens, shown, strict=True))


def test_a_part_is_told_by_the_character_it_belongs_to():
    sprout, two = "🌱".encode(), "日本".encode()
    tokens = [piece(b" " + sprout[:2]), piece(sprout[2:3]), piece(sprout[3:] + b"!"), "a", piece(sprout[:2])]
    assert parts(tokens) == [" 🌱¦", "¦🌱¦", "¦🌱!", "", ""]
    assert parts([piece(two[:2]), piece(two[2:4]), piece(two[4:])]) == ["日¦", "¦日本¦", "¦本"]
