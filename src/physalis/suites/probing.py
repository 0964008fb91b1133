"""probing: what a suite's probes measure: sparse probes of codes beside dense ones of activations, differences of means
and the tokens themselves, on tasks as they are and on shifted ones.

A round draws other texts of each task and another half to train on; what is reported is the mean AUROC of the tasks.
Of a sparse probe on a shifted task, features and weights are those of the task as it is.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits

from physalis.activations import Stored
from physalis.dictionaries import Dictionary
from physalis.models import Model
from physalis.runtime.progress import progress
from physalis.suites.probes import Halves, Scorer, auroc, dense_probe, mean_difference, sparse_probe, token_auroc
from physalis.suites.probing_tasks import Labelled, ProbingTask
from physalis.suites.records import Measured, Metric
from physalis.suites.task_rows import Pool, TaskRows

SIZES = (1, 5, 16)
"""Features that a sparse probe reads."""
DENSE, MEANS, TOKENS = "dense probe", "difference of means", "tokens"

PROBES = [
    Metric(
        name=f"probe_{k}", higher_is_better=True,
        title=f"AUROC of a probe of {k} feature{'s' if k > 1 else ''}, mean of tasks",
    )
    for k in SIZES
]  # fmt: skip
SHIFTED = [
    Metric(
        name=f"probe_{k}_shifted", higher_is_better=True,
        title=f"the same of {k} feature{'s' if k > 1 else ''}, on shifted texts",
    )
    for k in SIZES
]  # fmt: skip


class _Task(NamedTuple):
    name: str
    usual: TaskRows
    shifted: TaskRows | None


class Probing:
    """The texts of some tasks, read once."""

    def __init__(
        self,
        model: Model,
        source: Stored,
        tasks: Sequence[ProbingTask],
        *,
        texts: int,
        pool: Pool,
        length: int,
        seed: int,
    ) -> None:
        """Of each task twice ``texts`` are read, as many of either class, from which rounds draw; of a shifted one
        all."""
        self.texts, self.tasks = texts, list[_Task]()
        with progress("read tasks", len(tasks), "tasks") as advance:
            for task in tasks:
                labels = np.array(task.usual.labels, bool)
                some = Halves.drawn(labels, 2 * texts, seed=seed)
                chosen = np.sort(np.concatenate(some)).tolist()
                usual = Labelled([task.usual.texts[i] for i in chosen], [task.usual.labels[i] for i in chosen])
                shifted = task.shifted and TaskRows.read(model, source, task.shifted, pool=pool, length=length)
                self.tasks.append(
                    _Task(task.name, TaskRows.read(model, source, usual, pool=pool, length=length), shifted)
                )
                advance(1)

    @property
    def metrics(self) -> list[Metric]:
        """The shifted ones only where a task has a shifted version."""
        return [*PROBES, *(SHIFTED if any(task.shifted for task in self.tasks) else ())]

    def by_task(self, subjects: Mapping[str, Dictionary], round: int) -> dict[str, dict[str, dict[str, float]]]:
        """AUROC of each metric, subject and task in a round, baselines among the subjects."""
        found: dict[str, dict[str, dict[str, float]]] = {}
        for task in self.tasks:
            labels = task.usual.labels
            halves = Halves.drawn(labels, self.texts, seed=round)
            # A fit takes milliseconds, and waking the other cores for it ten times as long where they are busy.
            with threadpool_limits(1, user_api="blas"):
                rows = list(self._of_task(task, halves, labels, subjects, round))
            for metric, subject, value in rows:
                found.setdefault(metric, {}).setdefault(subject, {})[task.name] = value
        return found

    def measure(self, subjects: Mapping[str, Dictionary], round: int) -> Iterator[Measured]:
        """The mean of the tasks of each metric of each subject."""
        for metric, by in self.by_task(subjects, round).items():
            for subject, values in by.items():
                role = "dictionary" if subject in subjects else "baseline"
                yield Measured(
                    metric=metric, subject=subject, role=role, round=round, value=float(np.mean([*values.values()]))
                )

    def _of_task(
        self, task: _Task, halves: Halves, labels: np.ndarray, subjects: Mapping[str, Dictionary], round: int
    ) -> Iterator[tuple[str, str, float]]:
        for subject, dictionary in subjects.items():
            codes = task.usual.codes(dictionary)
            there = None if task.shifted is None else task.shifted.codes(dictionary)
            for k in SIZES:
                probe = sparse_probe(codes[halves.train], labels[halves.train], k)
                yield from self._judged(task, halves, subject, probe, codes, there, [k])
        x = task.usual.activations()
        there = None if task.shifted is None else task.shifted.activations()
        train = x[halves.train], labels[halves.train]
        for name, probe in ((DENSE, dense_probe(*train, seed=round)), (MEANS, mean_difference(*train))):
            yield from self._judged(task, halves, name, probe, x, there, SIZES)
        other = task.shifted
        usual, shifted = token_auroc(
            task.usual.tokens,
            labels,
            halves,
            other.tokens if other else (),
            other.labels if other else None,
            seed=round,
        )
        for k in SIZES:
            yield f"probe_{k}", TOKENS, usual
            if other is not None:
                yield f"probe_{k}_shifted", TOKENS, shifted

    def _judged(
        self, task: _Task, halves: Halves, subject: str, probe: Scorer, x: np.ndarray, there: np.ndarray | None,
        sizes: Sequence[int],
    ) -> Iterator[tuple[str, str, float]]:  # fmt: skip
        usual = auroc(probe(x[halves.test]), task.usual.labels[halves.test])
        shifted = None if there is None or task.shifted is None else auroc(probe(there), task.shifted.labels)
        for k in sizes:
            yield f"probe_{k}", subject, usual
            if shifted is not None:
                yield f"probe_{k}_shifted", subject, shifted
