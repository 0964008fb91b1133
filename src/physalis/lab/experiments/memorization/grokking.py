"""GROK-1: a transformer that has long memorised its sums finds a rule for all of them, made of waves."""

from itertools import combinations

import numpy as np
from jaxtyping import Float64, Int64

from physalis.lab.checks import Check, Finding
from physalis.lab.pages import Axis, Cells, Lines, Page, Panel, Series, Slider, Stacks, Vectors, frames
from physalis.lab.toys.transformers.addition import Adder, Learning, adder, circular, learn, on_circle, spectrum

P = 53
SHARE = 0.4
STEPS = 3_000
KEPT = 8
"""Frequencies that may carry the solution, of 26."""


def learned(*, steps: int = STEPS, seed: int = 0) -> Learning:
    """Sums modulo 53 from 40 % of all pairs. With half the weight decay one of two seeds needs more steps."""
    start = adder(p=P, width=64, heads=4, neurons=256, seed=seed)
    return learn(start, share=SHARE, steps=steps, lr=3e-3, decay=2.0, every=50, seed=seed)


def most(shares: Float64[np.ndarray, " k"]) -> float:
    """What the KEPT largest sum to."""
    return float(np.sort(shares)[-KEPT:].sum())


def leading(model: Adder) -> Int64[np.ndarray, "3"]:
    """The three frequencies with the largest share of the logits."""
    return np.argsort(-circular(model.table()))[:3] + 1


def memorised(run: Learning) -> Adder:
    """The network when it first had all training pairs right."""
    return run.kept[run.steps.index(int(run.first(run.train_accuracy, 1.0)))]


def findings(models: list[Adder]) -> list[Finding]:
    """How far embedding and logits are made of few waves."""
    return [
        Finding.over(
            f"share of the embedding's power, its mean left out, in {KEPT} of 26 frequencies",
            [most(spectrum(model.embed)) for model in models],
            low=0.95,
        ),
        Finding.over(
            f"share of the logits' variance in cos(w(a + b - c)) at {KEPT} frequencies w",
            [most(circular(model.table())) for model in models],
            low=0.9,
        ),
    ]


def check(seed: int = 0) -> Check:
    """Three seeds of p = 53. That their frequencies are few is the same for all; which they are is not."""
    runs = [learned(seed=each) for each in range(3 * seed, 3 * seed + 3)]
    used = [set(leading(run.kept[-1]).tolist()) for run in runs]
    alike = [len(one & other) / len(one | other) for one, other in combinations(used, 2)]
    late = [run.first(run.test_accuracy, 0.99) / run.first(run.train_accuracy, 1.0) for run in runs]
    return Check(
        id="GROK-1",
        claim="Long after a network has memorised its training pairs it comes to add all others rightly as well, by an "
        "algorithm of a few waves.",
        source="Nanda and Lieberum 2023, Progress measures for grokking via mechanistic interpretability; Power et al. "
        "2022",
        findings=(
            Finding.over("accuracy on pairs never trained on", [run.test_accuracy[-1] for run in runs], low=0.99),
            Finding.over("steps until these are right, in steps until the training pairs are", late, low=5),
            *findings([run.kept[-1] for run in runs]),
            Finding.over("overlap of the three leading frequencies between two seeds", alike, high=0.5),
        ),
        control="the same networks when they had just memorised their training pairs",
        control_findings=tuple(findings([memorised(run) for run in runs])),
    )


def explore(seed: int = 0) -> Page:
    """The embedding on the circles of the frequencies that the finished network uses, through training."""
    run = learned(seed=seed)
    steps = [float(step) for step in run.steps]
    half = int(run.first(run.test_accuracy, 0.5) if run.test_accuracy[-1] > 0.5 else STEPS // 2)
    wanted = sorted({0, int(run.first(run.train_accuracy, 1.0)), *np.linspace(half / 2, half * 1.5, 6)})
    wanted = [*wanted, (half * 1.5 + STEPS) / 2, STEPS]
    shown = sorted({int(np.abs(np.array(steps) - min(each, STEPS)).argmin()) for each in wanted})
    used = leading(run.kept[-1])
    sliders = [Slider(name="training step", values=[str(run.steps[at]) for at in shown], start=len(shown) - 1)]
    loudest = int(np.argmax(run.kept[-1].out.norm(dim=1).numpy()))

    def panels(at: int) -> list[Panel]:
        model = run.kept[shown[at]]
        shares = spectrum(model.embed)
        circles = [(int(k), on_circle(model.embed, int(k))) for k in used]
        reach = max(float(np.abs(on_circle(run.kept[-1].embed, int(k))).max()) for k in used) * 1.1
        neuron = model.neurons(model.read().flatten(0, 1))[:, loudest].view(P, P)
        return [
            *(
                Vectors(
                    title=f"The numbers 0 to {P - 1} on the circle that goes round {k} times",
                    x=places[:, 0].tolist(),
                    y=places[:, 1].tolist(),
                    weight=(np.arange(P) / (P - 1)).tolist(),
                    names=[str(n) for n in range(P)],
                    reach=reach,
                )
                for k, places in circles
            ),
            Stacks(
                title="Which waves the embedding is made of",
                bars=[str(k) for k in range(1, len(shares) + 1)],
                parts=shares[:, None].tolist(),
                value=Axis(label="share of power", low=0, high=0.6),
            ),
            Cells(
                title="One neuron, for every sum",
                values=neuron.double().numpy().round(2).tolist(),
                scale="sequential",
                rows="a",
                columns="b",
            ),
        ]

    def through(title: str, label: str, curves: dict[str, list[float]]) -> Lines:
        return Lines(
            title=title,
            x=Axis(label="training step"),
            y=Axis(label=label, low=0),
            series=[Series(name=name, x=list(steps), y=list(values)) for name, values in curves.items()],
        )

    return Page(
        id="GROK-1",
        title="Learning to add, late",
        idea=f"A small transformer is shown {SHARE:.0%} of all sums modulo {P}. It soon knows them by heart and is "
        "wrong about all others. Nothing seems to happen for a long time, then within a short while it adds every pair "
        "rightly.\n\nUnder the surface a rule was growing all along. The network puts the numbers on a few circles, "
        "each going round a different number of times, on which adding is turning. Move the slider and watch a cloud "
        "become a ring; which circles it settles on is chance, and another start gives others.",
        original="Train and test loss of modular addition over training, and the Fourier spectrum of the embedding.",
        source="Nanda and Lieberum 2023, Progress measures for grokking via mechanistic interpretability",
        link="https://arxiv.org/abs/2301.05217",
        sliders=sliders,
        frames=frames(sliders, panels),
        panels=[
            through("Accuracy", "share right", {"trained on": run.train_accuracy, "never seen": run.test_accuracy}),
            through("Loss", "nats", {"trained on": run.train_loss, "never seen": run.test_loss}),
            through(
                "How far the network is made of few waves",
                f"share in {KEPT} of 26 frequencies",
                {
                    "embedding": [most(spectrum(model.embed)) for model in run.kept],
                    "logits": [most(circular(model.table())) for model in run.kept],
                },
            ),
        ],
    )
