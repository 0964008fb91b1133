"""token_effects(): tokens that a site treats alike have like vectors, where they stand and on what comes after."""

import numpy as np
import torch

from physalis.explanations.similarity.token_effects import DIMENSIONS, WEIGHTS, token_effects


class Rows:
    """As much of a recording as is read."""

    def __init__(self, tokens, x, at):
        self.tokens, self.contexts = tokens, np.arange(len(tokens))
        self._x, self._at = x, at

    def ordered(self, size):
        for i in range(0, len(self._at), size):
            part = slice(i, i + size)
            yield type("Pair", (), {"x": torch.from_numpy(self._x[part]), "at": torch.from_numpy(self._at[part])})


def planted(seed=0):
    """Tokens 0 and 1 do the same, 2 another thing; 3 and 4 leave the same trace on the token after them."""
    rng = np.random.default_rng(seed)
    tokens = rng.integers(0, 6, (200, 16))
    here, after = rng.normal(size=(6, 80)), rng.normal(size=(6, 80))
    here[1], after[4] = here[0], after[3]
    x = here[tokens] + 0.1 * rng.normal(size=(200, 16, 80))
    x[:, 1:] += after[tokens[:, :-1]]
    return Rows(tokens, x.reshape(-1, 80).astype(np.float32), np.arange(tokens.size))


def cosine(a, b):
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def test_what_does_the_same_is_alike():
    found = token_effects(planted())
    parts = np.split(found, len(WEIGHTS), 1)
    assert found.shape == (6, DIMENSIONS * len(WEIGHTS))
    assert cosine(parts[0][0], parts[0][1]) > 0.95
    assert cosine(parts[0][0], parts[0][2]) < 0.7
    assert cosine(parts[1][3], parts[1][4]) > 0.95
    assert cosine(parts[1][3], parts[1][5]) < 0.7


def test_rows_that_were_not_kept_leave_a_token_without_an_effect():
    whole = planted()
    kept = whole.tokens.ravel()[whole._at] != 5
    found = token_effects(Rows(whole.tokens, whole._x[kept], whole._at[kept]))
    assert not found[5, :DIMENSIONS].any()
    assert found[0, :DIMENSIONS].any()


def test_the_same_recording_gives_the_same_vectors():
    assert np.array_equal(token_effects(planted()), token_effects(planted()))
