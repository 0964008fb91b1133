"""evaluation: how faithful dictionaries are to activations and to the model, with intervals and beside baselines."""

from physalis.evaluation.baselines import LinearMap, too_wide
from physalis.evaluation.chance import random_dictionary
from physalis.evaluation.evaluating import evaluate, measure
from physalis.evaluation.evaluation import Evaluation
from physalis.evaluation.reconstruction import Counted, reconstructions
from physalis.evaluation.splicing import Splicer, Unspliceable

__all__ = [
    "Counted",
    "Evaluation",
    "LinearMap",
    "Splicer",
    "Unspliceable",
    "evaluate",
    "measure",
    "random_dictionary",
    "reconstructions",
    "too_wide",
]
