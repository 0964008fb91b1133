"""queueing: what the process of a queue does: ``explain``, in the order in which features are opened. Loads torch."""

import contextlib
import os
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import Any

import torch

from physalis.artifact import read
from physalis.errors import BadInput
from physalis.explanations import explaining, pieces
from physalis.explanations.explained import piece_name
from physalis.explanations.learning import Economy
from physalis.explanations.queue import MOST, Alone, Begun, Ended, Sources, connection
from physalis.explanations.records import Explanation
from physalis.models import announced, load_model
from physalis.placement.origin import Origin
from physalis.runtime.jobs import Job, in_order
from physalis.runtime.progress import Advance

NICENESS = 10
"""How much it yields to pages, and to whatever else the machine does."""

Tell = Callable[[Any], None]


class Asked:
    """Features that were opened. Safe to share between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._new: dict[int, None] = {}
        self._every: dict[int, None] = {}

    def add(self, feature: int) -> None:
        """It is the next, though it was asked for before."""
        with self._lock:
            for each in (self._new, self._every):
                each.pop(feature, None)
                each[feature] = None
                if len(each) > MOST:
                    del each[next(iter(each))]

    def take(self) -> int | None:
        """The last that was opened of those not taken yet."""
        with self._lock:
            return self._new.popitem()[0] if self._new else None

    def order(self) -> list[int]:
        """All, the last opened first."""
        with self._lock:
            return [*reversed(self._every)]


class InOrder:
    """An engine of jobs that makes first what was asked for last, and answers between any two features."""

    def __init__(self, asked: Asked, alone: Callable[[int], Explanation], tell: Tell, total: int) -> None:
        """``alone`` explains one feature; what is known then is told, and how far it is of a ``total``."""
        self._asked, self._alone, self._tell, self._total = asked, alone, tell, total

    def __call__(self, jobs: Sequence[Job], advance: Advance) -> None:
        torch.set_num_threads(1)
        left = {each.name: each for each in jobs}
        self._tell(Begun(self._total - sum(each.size for each in jobs), self._total))

        def advanced(n: int, note: str | None = None) -> None:
            advance(n, note)
            self._tell(n)
            self._answer()

        while left:
            self._answer()
            first = [name for each in self._asked.order() if (name := piece_name(each // explaining.PIECE)) in left]
            name = first[0] if first else next(iter(left))
            in_order([left[name]], advanced)
            del left[name]

    def _answer(self) -> None:
        while (feature := self._asked.take()) is not None:
            self._tell(Alone(self._alone(feature).model_dump_json()))


def explain_asked(sources: Sources, asked: Asked, tell: Tell) -> None:
    """``explain`` all features, what was asked for first. Raises what that raises."""
    trained = read(sources.dictionary, "dictionary")
    model = load_model(announced(Origin.of(trained).model, "The dictionary"), device="cpu")
    total = trained.config["dictionary"]["n_features"]
    economy = Economy()

    def alone(feature: int) -> Explanation:
        return pieces.alone(sources.out, sources.out / explaining.CODES, feature, economy)

    # The pages say how far it is.
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere):
        engine = InOrder(asked, alone, tell, total)
        explaining.explain(sources.dictionary, sources.activations, model, sources.out, economy=economy, engine=engine)


def work(parent: Connection) -> None:
    """Explain what ``parent`` sends, until that is done or the parent is gone."""
    asked, sources = Asked(), parent.recv()

    def listen() -> None:
        with contextlib.suppress(EOFError, OSError):
            while True:
                asked.add(parent.recv())
        os._exit(0)  # what is half written is made anew

    threading.Thread(target=listen, daemon=True, name="parent").start()
    with contextlib.suppress(OSError):
        os.nice(NICENESS)
    try:
        explain_asked(sources, asked, parent.send)
        why = None
    except BadInput as error:
        why = str(error)
    except Exception as error:  # a fault of ours, or of the machine: whoever serves is told, and serves on
        traceback.print_exc()
        why = f"Its process failed ({type(error).__name__})."
    with contextlib.suppress(OSError):
        parent.send(Ended(why))


if __name__ == "__main__":
    work(connection(sys.argv[1]))
