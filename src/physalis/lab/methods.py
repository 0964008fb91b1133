"""Physalis's own methods, and the naive ones they stand beside, as ``suite.run_suite`` takes them.

A method that falls into a trap stays here: the report card is of use only if it shows that.
"""

import math
import warnings
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy.optimize import nnls
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from physalis.explanations import Surroundings
from physalis.explanations.learning import Corpus, Learner
from physalis.lab.fitting import ARCHITECTURES_OF_ONE_SITE, Rows, fit_dictionary
from physalis.lab.traps.base import Network, Parted, Predictor
from physalis.types import Codes

ROWS_SEEN = 500_000
"""By a dictionary in training; fewer activations are gone through again."""
WAY = 64
"""Steps from nothing to the input."""
TOP = 20
CONTEXT = 50
"""Inputs that follow each other where they are read as a text."""

Inputs = Float[np.ndarray, "n inputs"]


class DictionaryFinder(NamedTuple):
    """A dictionary of physalis at its defaults."""

    architecture: str
    seed: int = 0

    @property
    def name(self) -> str:
        return f"dictionary {self.architecture}"

    def _fitted(self, x: Float[np.ndarray, "n d"], n_features: int, k: int) -> Any:
        epochs = max(1, math.ceil(ROWS_SEEN / len(x)))
        return fit_dictionary(Rows(x), self.architecture, n_features=n_features, k=k, epochs=epochs, seed=self.seed)

    def find_features(
        self, activations: Float[np.ndarray, "n d"], n_features: int, k: int
    ) -> Float[np.ndarray, "features d"]:
        return self._fitted(activations, n_features, k).W_dec.detach().numpy()

    def find_codes(
        self, activations: Float[np.ndarray, "n d"], n_features: int, k: int
    ) -> tuple[Float[np.ndarray, "n features"], Float[np.ndarray, "features d"]]:
        dictionary = self._fitted(activations, n_features, k)
        with torch.no_grad():
            codes: Codes = dictionary.encode(torch.from_numpy(np.ascontiguousarray(activations, np.float32)))
        dense = torch.zeros(len(activations), n_features)
        dense.scatter_add_(1, codes.ids.long(), codes.values)
        return dense.numpy(), dictionary.W_dec.detach().numpy()


class PrincipalComponents(NamedTuple):
    """The directions of most variance: no features at all, and so a baseline."""

    name: str = "principal components"

    def find_features(
        self, activations: Float[np.ndarray, "n d"], n_features: int, k: int
    ) -> Float[np.ndarray, "features d"]:
        variance, ways = np.linalg.eigh(np.cov(activations.T))
        found = (ways * (variance > 1e-3 * variance.max())).T[::-1][:n_features]
        return np.vstack([found, np.zeros((n_features - len(found), activations.shape[1]))])


class Gradient(NamedTuple):
    name: str = "gradient"

    def attribute(self, network: Network, inputs: Inputs) -> Inputs:
        return network.gradient(inputs)


class LinearAttribution(NamedTuple):
    """Gradient times input."""

    name: str = "linear attribution"

    def attribute(self, network: Network, inputs: Inputs) -> Inputs:
        return network.gradient(inputs) * inputs


class LinearAttributionFromMean(NamedTuple):
    """Gradient times what an input is away from its mean."""

    name: str = "linear attribution from the mean"

    def attribute(self, network: Network, inputs: Inputs) -> Inputs:
        return network.gradient(inputs) * (inputs - inputs.mean(0))


class IntegratedGradients(NamedTuple):
    """Gradients along the way from 0, times input."""

    name: str = "integrated gradients"

    def attribute(self, network: Network, inputs: Inputs) -> Inputs:
        steps = (np.arange(WAY) + 0.5) / WAY
        return np.mean([network.gradient(t * inputs) for t in steps], 0) * inputs


class Occlusion(NamedTuple):
    """What the output loses where an input is set to 0."""

    name: str = "occlusion"

    def attribute(self, network: Network, inputs: Inputs) -> Inputs:
        lost = np.zeros_like(inputs)
        for i in range(inputs.shape[1]):
            without = inputs.copy()
            without[:, i] = 0
            lost[:, i] = network(inputs) - network(without)
        return lost


class AttentionWeights(NamedTuple):
    """Where the network looks; where it has no attention, nothing can be said."""

    name: str = "attention weights"

    def attribute(self, network: Network, inputs: Inputs) -> Inputs:
        return np.full(inputs.shape, np.nan) if network.attention is None else network.attention(inputs)


class LogisticProbe(NamedTuple):
    name: str = "logistic probe"

    def fit_probe(self, x: Float[np.ndarray, "n d"], y: Int[np.ndarray, " n"]) -> Predictor:
        return make_pipeline(StandardScaler(), LogisticRegression(max_iter=2_000)).fit(x, y).predict


class DifferenceOfMeans(NamedTuple):
    """The class whose mean is nearest."""

    name: str = "difference of means"

    def fit_probe(self, x: Float[np.ndarray, "n d"], y: Int[np.ndarray, " n"]) -> Predictor:
        classes = np.unique(y)
        means = np.stack([x[y == each].mean(0) for each in classes])
        return lambda at: classes[(at @ means.T - 0.5 * np.square(means).sum(1)).argmax(1)]


class NetworkProbe(NamedTuple):
    """A probe with a hidden layer, which can compute for itself."""

    name: str = "probe with a hidden layer"

    def fit_probe(self, x: Float[np.ndarray, "n d"], y: Int[np.ndarray, " n"]) -> Predictor:
        net = MLPClassifier((64,), learning_rate_init=0.01, max_iter=60, random_state=0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # sixty times through are enough for a probe
            return make_pipeline(StandardScaler(), net).fit(x, y).predict


class TopExamples(NamedTuple):
    """The concept that most of the strongest examples have."""

    name: str = "top examples"

    def explain(
        self, activations: Float[np.ndarray, " n"], concepts: Bool[np.ndarray, "n concepts"]
    ) -> Float[np.ndarray, " concepts"]:
        there = concepts[np.argsort(-activations)[:TOP]].mean(0)
        return np.where(np.arange(len(there)) == there.argmax(), there, 0.0)


class ActivationShares(NamedTuple):
    """How much of all that the unit says it says where a concept is there: how the atlas's headlines weigh tokens."""

    name: str = "shares of activation"

    def explain(
        self, activations: Float[np.ndarray, " n"], concepts: Bool[np.ndarray, "n concepts"]
    ) -> Float[np.ndarray, " concepts"]:
        return activations @ concepts / activations.sum()


class Regression(NamedTuple):
    """What each concept adds to the unit, by least squares with no negative weights, and how often it does."""

    name: str = "regression on concepts"

    def explain(
        self, activations: Float[np.ndarray, " n"], concepts: Bool[np.ndarray, "n concepts"]
    ) -> Float[np.ndarray, " concepts"]:
        weights = nnls(np.c_[concepts, np.ones(len(concepts))].astype(float), activations)[0]
        return weights[:-1] * concepts.mean(0) / activations.mean()


class LearnedRule(NamedTuple):
    """The rule that ``physalis explain`` would learn, on a text in which each input is a token, named by its concepts.
    What the rule predicts on a token is its concepts', in equal parts."""

    name: str = "learned rule"

    def explain(
        self, activations: Float[np.ndarray, " n"], concepts: Bool[np.ndarray, "n concepts"]
    ) -> Float[np.ndarray, " concepts"]:
        n = len(activations) // CONTEXT * CONTEXT
        kinds, tokens = np.unique(concepts[:n], axis=0, return_inverse=True)
        names = [" ".join(map(str, np.flatnonzero(each))) or "none" for each in kinds]
        text = Surroundings(tokens.reshape(-1, CONTEXT), [f" {name}" for name in names])
        codes = activations[:n].astype(np.float32)
        at, every = np.flatnonzero(codes > 0), np.arange(n)
        rule = Learner(Corpus.of(text, every, every)).learn(at, codes[at])
        parts = concepts[:n] / np.maximum(concepts[:n].sum(1, keepdims=True), 1)
        return rule.predict(text) @ parts / codes.sum()


def _moved(model: Parted, inputs: Inputs, held: dict[str, np.ndarray]) -> float:
    return float(np.abs(model.run(inputs, held).outputs - model.run(inputs).outputs).mean())


class ZeroAblation(NamedTuple):
    name: str = "zero ablation"

    def ablate(self, model: Parted, inputs: Inputs) -> Float[np.ndarray, " parts"]:
        return np.array([_moved(model, inputs, {part: np.zeros(len(inputs))}) for part in model.parts])


class MeanAblation(NamedTuple):
    name: str = "mean ablation"

    def ablate(self, model: Parted, inputs: Inputs) -> Float[np.ndarray, " parts"]:
        values = model.run(inputs).values
        return np.array([_moved(model, inputs, {p: np.full(len(inputs), values[p].mean())}) for p in model.parts])


class ResampleAblation(NamedTuple):
    """The value that a part has on another input."""

    name: str = "resample ablation"

    def ablate(self, model: Parted, inputs: Inputs) -> Float[np.ndarray, " parts"]:
        values, order = model.run(inputs).values, np.random.default_rng(0).permutation(len(inputs))
        return np.array([_moved(model, inputs, {part: values[part][order]}) for part in model.parts])


class Shapley(NamedTuple):
    """What a part at its mean takes from the outputs, averaged over which others are at theirs already."""

    name: str = "Shapley values"

    def ablate(self, model: Parted, inputs: Inputs) -> Float[np.ndarray, " parts"]:
        values, n = model.run(inputs).values, len(model.parts)
        means = {part: np.full(len(inputs), value.mean()) for part, value in values.items()}
        found = []
        for part in model.parts:
            others, total = [p for p in model.parts if p != part], 0.0
            for size in range(n):
                for gone in combinations(others, size):
                    held = {p: means[p] for p in gone}
                    more = _moved(model, inputs, held | {part: means[part]}) - _moved(model, inputs, held)
                    total += more * math.factorial(size) * math.factorial(n - 1 - size) / math.factorial(n)
            found.append(total)
        return np.array(found)


OWN: tuple[Any, ...] = (
    *(DictionaryFinder(name) for name in ARCHITECTURES_OF_ONE_SITE), PrincipalComponents(), LinearAttribution(),
    LinearAttributionFromMean(), Gradient(), IntegratedGradients(), Occlusion(), AttentionWeights(), LogisticProbe(),
    DifferenceOfMeans(), NetworkProbe(), TopExamples(), ActivationShares(), Regression(), LearnedRule(), ZeroAblation(),
    MeanAblation(), ResampleAblation(), Shapley(),
)  # fmt: skip
"""Every method on the report card: physalis's and, for comparison, those it would warn of."""
