"""DD-3: in four dimensions the bump of double descent grows with training and goes away with strong weight decay.

Settings are the smallest at which this was seen: 1,000 features at sparsity .99, rate 3e-3, a bump at 1,000 points that
is .04 high after 1,000 steps and .6 to .7 after 4,000. The paper's decay of 1 leaves .05 of it: in 50,000 steps at rate
1e-3 it works four times as long as in these, so 3 is taken. Whether the bump is gone is asked of its size, not of
standard errors: they are .0002, and ten stored points alone make .002 less than no answer.
"""

from physalis.lab.checks import Check, Finding
from physalis.lab.pages import Axis, Lines, Page, Panel, Rule, Series, Slider, Stacks, frames
from physalis.lab.toys.regimes import Regimes, train_regimes

COUNTS, M = (10, 300, 1_000, 3_000), 4
SHORT, LONG = 1_000, 4_000
WEAK, STRONG = 0.01, 3.0


def trained(steps: int, decay: float, *, seed: int, counts: tuple[int, ...] = COUNTS, draws: int = 4) -> Regimes:
    """Models of four dimensions on each number of points."""
    return train_regimes(counts, M, draws=draws, steps=steps, decay=decay, seed=seed)


def check(seed: int = 0) -> Check:
    """A short training, a long one, and a long one with three hundred times the decay."""
    short, long = trained(SHORT, WEAK, seed=seed), trained(LONG, WEAK, seed=seed)
    strong = trained(LONG, STRONG, seed=seed)
    bump = "standard errors by which the worst number of points between is above both ends, test loss"
    over = "test loss less 1, which no answer makes, at the worst number of points between the ends"
    return Check(
        id="DD-3",
        claim="In four dimensions the bump of double descent becomes larger with more training and is gone where "
        "weight decay is some hundred times stronger.",
        source="Henighan et al. 2023, Superposition, Memorization, and Double Descent",
        findings=(
            Finding(f"{bump}, {LONG:,} steps", long.significance, low=3),
            Finding(f"{over}, {LONG:,} steps", long.harm, low=0.3),
            Finding(f"{over}, {SHORT:,} steps, as a share", short.harm / long.harm, high=0.5),
            Finding(f"{over}, decay {STRONG:g}", strong.harm, high=0.02),
        ),
        control="weak decay, asked not to have the bump, and strong decay, asked to have it",
        control_findings=(
            Finding(f"{over}, {LONG:,} steps", long.harm, high=0.02),
            Finding(f"{over}, decay {STRONG:g}", strong.harm, low=0.3),
        ),
    )


def explore(seed: int = 0) -> Page:
    """The test loss over training points for three decays, after four lengths of training."""
    decays, lengths, counts = (0.01, 0.3, 3.0), (500, 1_000, 2_000, 4_000), (10, 30, 100, 300, 1_000, 3_000)
    made = [[trained(steps, decay, seed=seed, counts=counts, draws=1) for steps in lengths] for decay in decays]
    sliders = [
        Slider(name="weight decay", values=[f"{decay:g}" for decay in decays]),
        Slider(name="steps", values=[f"{steps:,}" for steps in lengths], start=len(lengths) - 1),
    ]
    highest = max(float(each.test.max()) for row in made for each in row)

    def panels(at: int, length: int) -> list[Panel]:
        each = made[at][length]
        told = {"fresh points": each.test.mean(1), "training points": each.train.mean(1)}
        return [
            Lines(
                title="Loss of a point",
                x=Axis(label="training points", log=True),
                y=Axis(label="squared error", low=0, high=highest),
                series=[
                    Series(name=name, x=list(counts), y=loss.tolist(), faint=name != "fresh points")
                    for name, loss in told.items()
                ],
                rules=[Rule(at=1, label="no answer")],
            ),
            Stacks(
                title="Length of all weights together",
                bars=[f"{count:,}" for count in counts],
                parts=[[float((models.W**2).sum((1, 2)).mean() ** 0.5)] for models in each.models],
                value=Axis(label="√ of the sum of squares", low=0),
            ),
        ]

    return Page(
        id="DD-3",
        title="What makes the bump",
        idea="Double descent has a second dial beside the number of training points: how hard the model may try. With "
        "four dimensions a short training stores few points and does little harm. The longer it trains, the longer "
        "its weights grow in order to keep more points apart than fit, and the higher rises the loss on points it "
        "never saw.\n\nWeight decay takes that way out: a model that may not grow long weights cannot store a "
        "thousand points, and answers next to nothing until features pay. The bump is no law of nature, but what an "
        "unbounded memory does with slightly too much to remember.",
        original="Maps of the test loss over training points and hidden dimensions, for more epochs and more decay.",
        source="Henighan et al. 2023, Superposition, Memorization, and Double Descent",
        link="https://transformer-circuits.pub/2023/toy-double-descent/index.html",
        sliders=sliders,
        frames=frames(sliders, panels),
        panels=[
            Lines(
                title="The bump, step by step",
                x=Axis(label="steps", log=True),
                y=Axis(label="highest test loss between the ends"),
                series=[
                    Series(
                        name=f"decay {decay:g}",
                        x=list(lengths),
                        y=[float(each.test.mean(1)[each.peak]) for each in row],
                    )
                    for decay, row in zip(decays, made, strict=True)
                ],
            )
        ],
    )
