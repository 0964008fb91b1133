"""FAITH-1: transcoders of a layer that computes ``|x|``. Where one input comes again and again they learn it by heart,
a mechanism that the layer has not; to match its derivatives undoes that.

The pair inputs (1, 1, 0), (1, 0, 1) and (0, 1, 1), zeros after, tell the two apart: the layer answers what it is given;
a latent for (1, 1, 1) answers too much or, where it takes the place of the others, too little.
"""

import numpy as np

from physalis.lab.checks import Check, Finding
from physalis.lab.pages import Axis, Cells, Lines, Page, Panel, Series, Slider, frames
from physalis.lab.toys.transcoders import TRIPLE, Transcoders, train_transcoders

D, DENSITY = 8, 0.1
REPEAT, JACOBIAN = 0.2, 3.0
SEEDS = 5
SHARES = (0, 0.02, 0.05, 0.1, 0.2, 0.5)
NAMES = {"(1, 0, 0)": (0,), "(1, 1, 0)": (0, 1), "(1, 0, 1)": (0, 2), "(0, 1, 1)": (1, 2), "(1, 1, 1)": (0, 1, 2)}
"""The inputs looked at: the coordinates that are 1."""
INPUTS = np.array([[float(c in ones) for c in range(D)] for ones in NAMES.values()])
PAIRS = slice(1, 4)


def pair_errors(made: Transcoders) -> np.ndarray:
    """[instances]: the largest error of a coordinate, averaged over the three pair inputs."""
    return np.abs(made.answers(INPUTS[PAIRS]) - INPUTS[PAIRS]).max(2).mean(1)


def trained(shares: np.ndarray, jacobian: np.ndarray, seed: int) -> Transcoders:
    return train_transcoders(repeat=shares, jacobian=jacobian, d=D, density=DENSITY, seed=seed)


def check(seed: int = 0) -> Check:
    """Five transcoders each without repeats, with them, and with them and the derivatives matched.

    The paper's own score of memorization is left out: it is 0 in most runs that are wrong on the pairs. What the
    training error leaves unexplained is compared with ``E |x|^2``, and is small; yet matching makes it smaller still.
    """
    shares, jacobian = np.repeat([0, REPEAT, REPEAT], SEEDS), np.repeat([0, 0, JACOBIAN], SEEDS)
    made = trained(shares, jacobian, seed)
    plain, repeated, matched = pair_errors(made).reshape(3, SEEDS)
    loss = made.losses.reshape(3, SEEDS)
    size = (1 - REPEAT) * D * DENSITY / 3 + REPEAT * TRIPLE
    return Check(
        id="FAITH-1",
        claim="A transcoder trained on inputs among which one repeats learns a feature for that input, which the layer "
        "does not have, while its training error is small; matching derivatives keeps it from that.",
        source="Olah 2025, A Toy Model of Mechanistic (Un)Faithfulness",
        findings=(
            Finding.over("error on pair inputs, nothing repeated", plain, high=0.1),
            Finding.over("error on pair inputs, a fifth of the inputs repeated", repeated, low=0.3),
            Finding.over("what its training leaves unexplained, as a share", loss[1] / size, high=0.01),
            Finding.over("error on pair inputs with derivatives matched", matched, high=0.1),
            Finding.over("training error with derivatives matched over that without", loss[2] / loss[1], high=2.0),
        ),
        control="the transcoders that saw no repeated input",
        control_findings=(Finding.over("error on pair inputs", plain, low=0.3),),
    )


def explore(seed: int = 0) -> Page:
    """What transcoders answer where they were not trained, by how often one input came back."""
    each, kinds = 3, ("plain", "with derivatives matched")
    at = np.array([(share, weight) for weight in (0.0, JACOBIAN) for share in SHARES for _ in range(each)])
    made = trained(at[:, 0], at[:, 1], seed)
    errors = pair_errors(made).reshape(2, len(SHARES), each)
    middle = errors.argsort(2)[..., each // 2] + each * np.arange(2 * len(SHARES)).reshape(2, -1)
    answers = made.answers(INPUTS)
    line = np.zeros((41, D))
    line[:, :2], line[:, 2] = 1, np.linspace(-1, 1, 41)
    along = made.answers(line)
    sliders = [
        Slider(name="repeated inputs", values=[f"{share:.0%}" for share in SHARES], start=4),
        Slider(name="training", values=list(kinds)),
    ]

    def panels(share: int, kind: int) -> list[Panel]:
        i = middle[kind, share]
        f = np.maximum(made.W_in[i] @ INPUTS[-1] + made.b_in[i], 0)
        on = np.flatnonzero(f > 0.05)
        on = on[np.argsort(-f[on])]
        return [
            Cells(
                title="Answers of the transcoder; the layer's are the inputs themselves",
                values=answers[i, :, : TRIPLE + 1].tolist(),
                scale="diverging",
                rows="input",
                columns="coordinate",
                row_ticks=list(NAMES),
                column_ticks=["1", "2", "3", "4"],
            ),
            Cells(
                title="Latents that are on at (1, 1, 1): what each reads",
                values=made.W_in[i, on, : TRIPLE + 1].tolist(),
                scale="diverging",
                rows="latent",
                columns="coordinate",
                column_ticks=["1", "2", "3", "4"],
            ),
            Lines(
                title="Answers along (1, 1, t)",
                x=Axis(label="t"),
                y=Axis(label="answer", low=-0.5, high=1.5),
                series=[
                    Series(
                        name="layer, coordinate 3", x=line[:, 2].tolist(), y=np.abs(line[:, 2]).tolist(), faint=True
                    ),
                    Series(name="coordinate 3", x=line[:, 2].tolist(), y=along[i, :, 2].tolist()),
                    Series(name="coordinate 1", x=line[:, 2].tolist(), y=along[i, :, 0].tolist()),
                ],
            ),
        ]

    return Page(
        id="FAITH-1",
        title="Right for the wrong reason",
        idea="A layer takes the absolute value of each coordinate, by two neurons each, and by nothing else. A "
        "transcoder, trained to answer as the layer does with few latents, finds just that, as long as inputs are "
        "varied.\n\nLet one input, (1, 1, 1) and zeros, come back often enough, and it pays to keep a latent for it "
        "alone: one latent is sparser than three. The training error stays below a hundredth of what there is to "
        "explain. But at (1, 1, 0), which the layer handles like any other input, the transcoder is wrong: it has "
        "learned what the layer says, not how it comes to say it.",
        original="Transcoders' features by how often a data point repeats: a feature of that data point appears, and "
        "goes where Jacobians are matched.",
        source="Olah 2025, A Toy Model of Mechanistic (Un)Faithfulness",
        link="https://transformer-circuits.pub/2025/faithfulness-toy-model/index.html",
        sliders=sliders,
        frames=frames(sliders, panels),
        panels=[
            Lines(
                title="Error on the pair inputs",
                x=Axis(label="share of repeated inputs"),
                y=Axis(label="largest error of a coordinate", low=0),
                series=[
                    Series(
                        name=kind,
                        x=list(SHARES),
                        y=np.median(errors[k], 1).tolist(),
                        low=errors[k].min(1).tolist(),
                        high=errors[k].max(1).tolist(),
                    )
                    for k, kind in enumerate(kinds)
                ],
                follows="repeated inputs",
            )
        ],
    )
