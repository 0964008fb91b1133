"""suites: dictionaries beside each other on metrics that were tried on dictionaries whose rank is known."""

from physalis.suites.diagnostics import BestK, Permuted, random_like
from physalis.suites.evaluated import Suite
from physalis.suites.groups import Group, grouped
from physalis.suites.probing_tasks import ProbingTask, ProbingTasks
from physalis.suites.records import Difference, Dropped, Measured, Metric, SuiteScore
from physalis.suites.running import evaluate_suite

__all__ = [
    "BestK", "Difference", "Dropped", "Group", "Measured", "Metric", "Permuted", "ProbingTask", "ProbingTasks", "Suite",
    "SuiteScore", "evaluate_suite", "grouped", "random_like",
]  # fmt: skip
