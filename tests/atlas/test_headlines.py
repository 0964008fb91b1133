"""Headlines, names of regions and features worth a look."""

import numpy as np

from physalis.atlas.headlines import distinct, headline, readable, region_names, striking, weighted_words


def test_tokens_become_readable() -> None:
    assert readable(" import") == "import"
    assert readable("\n\n") == "↵↵" and readable("\n    ") == "↵␣×4" and readable(" ") == "␣" and readable("\t") == "⇥"
    assert readable("a\nb") == "a↵b"
    assert distinct([" The", "the", "THE", " a"]) == ["The", "a"]


def test_headlines() -> None:
    assert headline([], [], []) == "(never fires)"
    assert headline([" import", "import", "from"], [0.6, 0.2, 0.1], []) == "import · from"
    assert headline([" self", "x"], [0.9, 0.01], []) == "self"
    assert headline([" the", "x"], [0.9, 0.01], [], " of the") == "of the"
    assert headline(["a", "b", "c", "d", "e"], [0.03] * 5, []) == "a · b · c · d …"
    assert headline(["a", "b"], [0.03, 0.02], ["ly", "ity", "ness", "x"]) == "→ ly · ity · ness"


def test_search_words_keep_their_best_place() -> None:
    found = weighted_words("import · ):", [" from"], ["os", "import"], ["from x import os"])
    assert found == {"import": 8, "):": 8, "from": 4, "os": 2, "x": 1}


def test_regions_are_named_by_what_sets_them_apart() -> None:
    strings = {0: " the", 1: " cat", 2: " dog"}
    telling = np.array([[1, 0], [1, 0], [2, 0], [2, 0], [2, -1]])
    share = np.full((5, 2), 0.5)
    names = region_names(np.array([0, 0, 1, 1, -1]), telling, share, strings, n=1)
    assert names == ["cat", "dog"]
    assert region_names(np.array([-1, -1]), telling[:2], share[:2], strings) == []


def test_striking_features_are_usual_wordy_and_spread() -> None:
    n = 60
    rng = np.random.default_rng(0)
    columns = {
        "density": np.full(n, 1e-3), "n_fired": np.full(n, 100), "nearest_cosine": np.full(n, 0.3),
        "logit_kurtosis": rng.random(n), "region": np.arange(n) % 6,
    }  # fmt: skip
    lines = ["cats · dogs"] * 30 + ["→ so · then"] * 30
    columns["density"][:5], lines[5] = 0.5, ") · ("
    chosen = striking(columns, lines)
    assert len(set(chosen)) == 12 and not set(chosen) & set(range(6))
    assert len({int(columns["region"][i]) for i in chosen[:6]}) == 6
    assert {lines[i] for i in chosen} == {"cats · dogs", "→ so · then"}
    assert striking({name: values[:3] for name, values in columns.items()}, ["a"] * 3)
    dead = {name: np.zeros(3) for name in columns}
    assert striking(dead, ["(never fires)"] * 3) == []
