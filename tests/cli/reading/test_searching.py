"""`physalis contrast`: the answer is the function's own, from files and from texts."""

import json

import pytest

import physalis
from physalis.atlas import Atlas
from physalis.search import Reader, contrast, share_of_tokens, verdict

HERE = ["alpha alpha beta", "alpha if alpha", "beta alpha alpha", "alpha alpha"]
THERE = ["else gamma", "gamma else else", "delta gamma", "gamma gamma delta"]


@pytest.fixture(autouse=True)
def tiny_everywhere(tiny, monkeypatch):
    monkeypatch.setattr(physalis, "load_model", lambda name, **_: tiny, raising=False)


@pytest.fixture
def files(tmp_path):
    for name, texts in (("here", HERE), ("there", THERE)):
        (tmp_path / f"{name}.txt").write_text("\n".join(texts))
    return tmp_path / "here.txt", tmp_path / "there.txt"


def test_the_record_is_the_functions(physalis, tiny, tiny_dictionary, tiny_atlas, files):
    code, out, err = physalis(
        "contrast", tiny_dictionary, *files, "--measure", "share_of_tokens", "--top", 3, "--atlas", tiny_atlas.folder,
        "--json",
    )  # fmt: skip
    assert code == 0, err
    reader = Reader.open(tiny_dictionary, tiny)
    want = contrast(reader.read(HERE), reader.read(THERE), measure=share_of_tokens, top=3)
    told = json.loads(out)
    assert told.pop("verdict") == verdict(want)
    headlines = told.pop("headlines")
    assert told == json.loads(want.model_dump_json()) and len(told["more_here"]) == 3
    atlas = Atlas.open(tiny_atlas.folder)
    assert headlines == {str(f.id): atlas[f.id].headline for f in (*want.more_here, *want.more_there)}


def test_a_person_sees_both_sides_and_what_they_are_worth(physalis, tiny_dictionary, tiny_atlas, files):
    code, out, err = physalis("contrast", tiny_dictionary, *files, "--atlas", tiny_atlas.folder, "--top", 2)
    assert code == 0 and "more in A" in out and "more in B" in out, err
    assert "4 texts in A and 4 in B" in " ".join(out.split()) and "mean activation" in out
    said = " ".join(out.split())
    assert "q is the false discovery rate" in said and "averaged over all kept tokens" in said
    code, out, err = physalis("contrast", tiny_dictionary, "--here", HERE[0], "--there", THERE[0])
    assert code == 0 and "nothing can be told from chance" in " ".join(out.split()), err


@pytest.mark.parametrize(
    "given", [(), ("--here", "a"), ("HERE",), ("HERE", "THERE", "--here", "a"), ("HERE", "--there", "a")]
)
def test_one_way_of_giving_two_sets(physalis, tiny_dictionary, files, given):
    named = [dict(HERE=files[0], THERE=files[1]).get(each, each) for each in given]
    code, out, err = physalis("contrast", tiny_dictionary, *named)
    assert code == 2 and "both sides" in err and out == ""


def test_the_atlas_is_of_the_dictionary(physalis, widths, tiny_atlas, files):
    code, _, err = physalis("contrast", widths[0], *files, "--atlas", tiny_atlas.folder)
    assert code == 2 and "is of another dictionary" in err
