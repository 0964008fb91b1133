"""Programs of a small RASP compiled to the weights of a transformer: models whose true circuit is known, node by node.

A task (``induction``, ``sort``, ...) is a program and its inputs; ``compile_program`` makes a ``Model`` of one, with
its ``Wiring``; ``oracle`` is the dictionary of an MLP's true features, and ``hidden`` the same model in coordinates
that mean nothing. ``run_circuit_suite`` tries a method of finding circuits on all of them, ``judge_graph`` a graph.
"""

from physalis.lab.rasp.algorithms import (
    TASKS,
    Facts,
    Task,
    dyck1,
    histogram,
    induction,
    plant_facts,
    reverse,
    sort,
    two_hop,
)
from physalis.lab.rasp.circuit_suite import CIRCUIT_METHODS, CircuitLine, CircuitMethod, run_circuit_suite
from physalis.lab.rasp.compiling import Compiled, compile_program
from physalis.lab.rasp.graph_truth import GraphLine, judge_graph
from physalis.lab.rasp.hiding import hidden
from physalis.lab.rasp.language import (
    Selector,
    SOp,
    aggregate,
    elementwise,
    evaluate,
    indices,
    latest,
    numeric,
    select,
    selector_width,
    tokens,
)
from physalis.lab.rasp.neurons import Neuron
from physalis.lab.rasp.oracles import Oracle, oracle
from physalis.lab.rasp.wiring import Edge, Read, Variable, Wiring

__all__ = [
    "CIRCUIT_METHODS", "TASKS", "CircuitLine", "CircuitMethod", "Compiled", "Edge", "Facts", "GraphLine", "Neuron",
    "Oracle", "Read", "SOp", "Selector", "Task", "Variable", "Wiring", "aggregate", "compile_program", "dyck1",
    "elementwise", "evaluate", "hidden", "histogram", "indices", "induction", "judge_graph", "latest", "numeric",
    "oracle", "plant_facts", "reverse", "run_circuit_suite", "select", "selector_width", "sort", "tokens",
    "two_hop",
]  # fmt: skip
