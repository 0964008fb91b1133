"""TMS-9: ten features in five ReLU neurons. A ReLU makes of its neurons a basis that counts: dense features get one
each, and sparser ones share neurons in small codes, more and more of them."""

import numpy as np

from physalis.lab.checks import Check, Finding
from physalis.lab.pages import Axis, Cells, Lines, Page, Panel, Rule, Series, Slider, Stacks, Words, frames
from physalis.lab.toys.neurons import train_stores
from physalis.lab.toys.superposition.models import REPRESENTED, train_toys

N, M = 10, 5
IMPORTANCE = 0.75 ** np.arange(N)
Groups = tuple[tuple[int, int], ...]
ALONE = (1, 1)
CODES: dict[float, Groups] = {
    0.6: (ALONE,) * 5,
    0.3: ((3, 2), *(ALONE,) * 3),
    0.15: ((5, 3), *(ALONE,) * 2),
    0.12: ((6, 4), ALONE),
    0.06: ((8, 5),),
    0.04: ((10, 5),),
}
"""What the paper finds at each density: groups of neurons that share features, (features, neurons) of each."""
READS = 0.25
"""Share of a feature's largest positive weight above which a neuron takes part in its code."""
SEEDS = {0.6: 16, 0.3: 48, 0.15: 144, 0.12: 64, 0.06: 48, 0.04: 128}
"""Models of which the best is taken: more where the paper's code is seldom found (at .15 by one start in twenty)."""
BATCHES = 2
DENSITIES = (0.6, 0.4, 0.3, 0.2, 0.15, 0.12, 0.08, 0.06, 0.04, 0.02)


def code(w: np.ndarray) -> np.ndarray:
    """[m, n] of bool: the neurons that each represented feature switches on. Negative weights keep a neuron silent:
    they belong to how codes are told apart, not to the codes."""
    return (w > READS * w.max(0).clip(0)) & (np.linalg.norm(w, axis=0) > REPRESENTED)


def groups(w: np.ndarray) -> Groups:
    """Neurons that share features, taken together: (features, neurons) of each group, the largest first."""
    on = code(w)
    joined = np.linalg.matrix_power(np.eye(len(w), dtype=int) + (on.astype(int) @ on.T > 0), len(w)) > 0
    found = {tuple(np.flatnonzero(row).tolist()) for row in joined}
    return tuple(sorted(((int(on[list(each)].any(0).sum()), len(each)) for each in found), reverse=True))


def trained(seeds: dict[float, int], seed: int) -> dict[float, tuple[np.ndarray, np.ndarray]]:
    """At each density that many models: weights [seeds, m, n] and losses on fresh inputs."""
    at = np.repeat(list(seeds), list(seeds.values()))
    each = np.repeat(at[:, None], N, 1)
    models = train_stores(M, each, IMPORTANCE, steps=3_000, batch=128, lr=1e-2, seed=seed)
    loss = models.measured(samples=60_000)
    return {p: (models.W_in[at == p], loss[at == p]) for p in seeds}


def pairs(w: np.ndarray) -> int:
    """How many different pairs of neurons are some feature's whole code."""
    return len({tuple(np.flatnonzero(column)) for column in code(w).T if column.sum() == 2})


def check(seed: int = 0) -> Check:
    """The best of 16 to 144 seeds at each of six densities, twice over.

    The best have the paper's code at .6, .3, .15 and .06. At .12 and .04 eight features in five neurons are found that
    lose less than the paper's code there, by about 1.5 and 2 to 8 in a hundred: each of four neurons reads three of
    four features and is silenced by the fourth, and the fifth neuron tells another four apart. So five of six, which
    was proposed, is too many to ask, and the paper's code is held against the best by its loss as well. The control's
    neurons are no basis: its hidden layer has no ReLU.
    """
    made = trained({p: BATCHES * count for p, count in SEEDS.items()}, seed)
    batches = [{p: (w[k::BATCHES], loss[k::BATCHES]) for p, (w, loss) in made.items()} for k in range(BATCHES)]
    of_code = [
        {p: np.where([groups(x) == CODES[p] for x in w], loss, np.inf) for p, (w, loss) in batch.items()}
        for batch in batches
    ]
    excess = np.array(
        [[told[p].min() / batch[p][1].min() - 1 for p in CODES] for told, batch in zip(of_code, batches, strict=True)]
    )
    dense = [batch[0.6][0][batch[0.6][1].argmin()] for batch in batches]
    sparse = [batch[0.04][0][told[0.04].argmin()] for told, batch in zip(of_code, batches, strict=True)]
    free = train_toys(M, np.full((BATCHES, N), 0.6), IMPORTANCE, steps=3_000, batch=128, lr=1e-2, seed=seed)
    own, turned = ([float(code(x).sum(1).max()) for x in ws] for ws in (dense, free.W))
    return Check(
        id="TMS-9",
        claim="Ten features of falling importance in five ReLU neurons: a neuron each where inputs are dense; as they "
        "become sparser three features share two neurons, then five three, six four, eight five, and at last each "
        "pair of neurons is a feature.",
        source="Elhage et al. 2022, Superposition in a Privileged Basis",
        findings=(
            Finding.over(
                "densities, of six, at which the best model has the paper's code", (excess == 0).sum(1), low=4
            ),
            Finding.over("excess loss of the paper's code over the best, largest of six", excess.max(1), high=0.1),
            Finding.over("density .6: most features that one neuron serves", own, 1, 1),
            Finding.over("density .04: pairs of neurons that are a feature's code", map(pairs, sparse), 10, 10),
        ),
        control="the same without the hidden ReLU, at density .6",
        control_findings=(Finding.over("most features that one neuron serves", turned, 1, 1),),
    )


def explore(seed: int = 0) -> Page:
    """The best models from dense to sparse, neuron by neuron."""
    made = trained({p: SEEDS.get(p, 64) for p in DENSITIES}, seed)
    w = [weights[loss.argmin()] for weights, loss in made.values()]
    free = train_toys(M, np.full((1, N), 0.6), IMPORTANCE, steps=3_000, batch=128, lr=1e-2, seed=seed).W[0]
    features, neurons = [str(i + 1) for i in range(N)], [f"neuron {i + 1}" for i in range(M)]
    sliders = [Slider(name="density of features", values=[f"{p:g}" for p in DENSITIES], start=2)]

    def ordered(x: np.ndarray) -> np.ndarray:
        """Neurons by their most important feature, so that neighbours on the slider compare."""
        return x[np.argsort([np.argmax(row) for row in code(x) * IMPORTANCE])]

    def panels(at: int) -> list[Panel]:
        x = ordered(w[at])
        return [
            Stacks(
                title="What switches each neuron on",
                bars=neurons,
                parts=np.where(code(x), x, 0).round(3).tolist(),
                names=[f"feature {name}" for name in features],
                value=Axis(label="weight", low=0),
            ),
            Cells(
                title="Weights, the negative ones too: they tell the codes apart",
                values=x.tolist(),
                scale="diverging",
                rows="neuron",
                columns="feature",
                row_ticks=[name[-1] for name in neurons],
                column_ticks=features,
            ),
            Words(
                title="Groups",
                columns=["features", "in neurons"],
                rows=[[str(held), str(count)] for held, count in groups(x)],
            ),
        ]

    kept = np.array([code(x).any(0).sum() for x in w], float).tolist()
    alone = np.array([groups(x).count(ALONE) for x in w], float).tolist()
    return Page(
        id="TMS-9",
        title="When neurons are features, and when they are not",
        idea="Ten features pass through five neurons and are read back by the same weights. A ReLU on each neuron "
        "makes the neurons special: turn them and the layer computes something else, so here it makes sense to ask "
        "what a neuron stands for.\n\nWith dense inputs each stands for one feature. Make the features rarer, and a "
        "third feature slips into two neurons by switching on both of them, like a bit pattern; then five share "
        "three. At .06 four neurons each read three features and are silenced by a fourth: the strong negative "
        "weights are that. At last all ten share.",
        original="Neurons as stacks of their weights, coloured by feature, from all monosemantic to pairs.",
        source="Elhage et al. 2022, Toy Models of Superposition, Superposition in a Privileged Basis",
        link="https://transformer-circuits.pub/2022/toy_model/index.html",
        sliders=sliders,
        frames=frames(sliders, panels),
        panels=[
            Lines(
                title="Features held, and neurons that serve one feature alone",
                x=Axis(label="density of features", log=True),
                y=Axis(label="", low=0, high=N),
                series=[
                    Series(name="features", x=list(DENSITIES), y=kept),
                    Series(name="neurons of one feature", x=list(DENSITIES), y=alone),
                ],
                rules=[Rule(at=M, label="neurons")],
            ),
            Cells(
                title="Without a hidden ReLU, density .6: five features, spread over all neurons",
                values=free.tolist(),
                scale="diverging",
                rows="neuron",
                columns="feature",
                column_ticks=features,
            ),
        ],
    )
