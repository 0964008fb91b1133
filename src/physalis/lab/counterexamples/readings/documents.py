"""What a score on held-out text is worth where documents stand there twice: CX-25."""

import numpy as np
from jaxtyping import Bool, Int

from physalis.lab.counterexamples.base import Counterexample, Gap

LENGTH, VOCAB, RATE = 50, 200, 0.05
LEARNED, HELD, WINDOW = 400, 200, 4


def text(n: int, rng: np.random.Generator) -> Int[np.ndarray, "n length"]:
    """Documents of random tokens."""
    return rng.integers(VOCAB, size=(n, LENGTH))


def fires(documents: Int[np.ndarray, "n length"], seed: int) -> Bool[np.ndarray, "n length"]:
    """A unit that answers to all that stood before, so that no few tokens tell: a hash of it, the same for copies."""
    state, found = np.full(len(documents), seed, np.uint64), np.zeros(documents.shape, bool)
    for column in range(LENGTH):
        state = state * np.uint64(6364136223846793005) + documents[:, column].astype(np.uint64) + np.uint64(1)
        found[:, column] = (state >> np.uint64(33)) % np.uint64(1000) < np.uint64(1000 * RATE)
    return found


def windows(documents: Int[np.ndarray, "n length"]) -> Int[np.ndarray, "n places"]:
    """A number for the last tokens at each place that has so many."""
    numbers = np.zeros((len(documents), LENGTH - WINDOW + 1), np.int64)
    for back in range(WINDOW):
        numbers = numbers * VOCAB + documents[:, back : LENGTH - WINDOW + 1 + back]
    return numbers


def f1_of_a_list(learned: np.ndarray, held: np.ndarray, seed: int) -> float:
    """An explanation that lists the tokens before each firing that it was shown, judged on held-out documents."""
    listed = windows(learned)[fires(learned, seed)[:, WINDOW - 1 :]]
    said, true = np.isin(windows(held), listed), fires(held, seed)[:, WINDOW - 1 :]
    return float(2 * (said & true).sum() / max(1, said.sum() + true.sum()))


def copies(seed: int) -> Gap:
    rng = np.random.default_rng(seed)
    learned, fresh = text(LEARNED, rng), text(HELD, rng)
    held = np.concatenate([fresh[: HELD // 2], learned[rng.choice(LEARNED, HELD // 2, replace=False)]])
    true = f1_of_a_list(learned, text(HELD, rng), seed)
    return Gap(
        naive=f1_of_a_list(learned, held, seed), truth=true, control_naive=f1_of_a_list(learned, fresh, seed),
        control_truth=true,
    )  # fmt: skip


CX_25 = Counterexample(
    id="CX-25",
    belief="What an explanation scores on held-out documents it scores on new ones.",
    model="A unit that fires on a hash of all tokens before; half of the held-out documents are copies.",
    naive="A list of the four tokens before each firing is judged on the held-out documents.",
    truth="On documents that are no copies the list is never right: nothing was understood, and nothing near would do.",
    scale="F1 of the list on documents that were held out",
    control="no copies",
    source="Lee et al. 2022, Deduplicating Training Data Makes Language Models Better, arXiv 2107.06499",
    warns="score leaves out passages that stand in the learned text too, and counts them; explain does not.",
    run=copies,
    least=0.5,
    spared=0.02,
)
