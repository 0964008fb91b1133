"""Superposition: five features in two dimensions, what their geometry says, and three methods that look for them."""

import marimo

__generated_with = "0.25.2"
app = marimo.App(width="medium")


@app.cell(hide_code=True)
def _(mo):
    mo.md(r"""
    # More features than dimensions

    A network has to tell five things from each other and has room for two. What does it do? It depends on how often two
    of the five are there at once. This page trains the smallest model in which that can be seen (Elhage et al. 2022), looks
    at what it learned, and then sets three methods on it that are meant to find features. One of them is fooled.
    """)
    return


@app.cell
def _():
    import marimo as mo
    import numpy as np
    import torch

    from physalis.lab.counterexamples import find_counterexamples, measure
    from physalis.lab.fitting import Rows, fit_dictionary
    from physalis.lab.pages import Axis, Lines, Rule, Series, Vectors
    from physalis.lab.toys.models import dimensionality, represented, train_toys
    from physalis.web.notebook import show

    return (
        Axis, Lines, Rows, Rule, Series, Vectors, dimensionality, find_counterexamples, fit_dictionary, measure, mo, np,
        represented, show, torch, train_toys,
    )  # fmt: skip


@app.cell(hide_code=True)
def _(mo):
    mo.md(r"""
    ## The model

    Five numbers go in, two come out of a matrix $W$, and the same matrix must restore the five:
    $x' = \mathrm{relu}(W^\top W x + b)$. A column of $W$ is where a feature lies in the plane. Each feature is absent with
    probability $S$, its sparsity; feature $i$ matters $0.9^i$ as much as the first. We train one model for each sparsity,
    and beside each the same model without the ReLU.
    """)
    return


@app.cell
def _(np, represented, train_toys):
    N, M = 5, 2
    sparsity = np.array([0.0, 0.5, 0.8, 0.9, 0.97])
    density = np.repeat(1 - sparsity[:, None], N, 1)
    toys = train_toys(M, density, 0.9 ** np.arange(N), steps=4_000, seed=0)
    linear = train_toys(M, density, 0.9 ** np.arange(N), relu=False, steps=4_000, seed=0)
    held = represented(toys.W).sum(1)
    held_linear = represented(linear.W).sum(1)
    return M, N, held, held_linear, sparsity, toys


@app.cell
def _(N, Vectors, mo, np, show, sparsity, toys):
    planes = [
        Vectors(
            title=f"sparsity {s:g}", x=w[0].tolist(), y=w[1].tolist(), weight=(0.9 ** np.arange(N)).tolist(), reach=1.3
        )
        for s, w in zip(sparsity[[0, 2, 4]], toys.W[[0, 2, 4]], strict=True)
    ]
    mo.ui.anywidget(show(planes))
    return


@app.cell(hide_code=True)
def _(M, held, held_linear, mo):
    mo.md(f"""
    Where all features are there at once, the model keeps the {held[0]} that matter most, at right angles, and forgets the
    rest: there are {M} dimensions. Where they are seldom there together it keeps {held[-1]}, and pays with a little noise
    from each to the others, which the ReLU cuts off. Without the ReLU nothing cuts it off, and the linear model never
    keeps more than {held_linear.max()}.
    """)
    return


@app.cell
def _(Axis, Lines, M, N, Rule, Series, held, held_linear, mo, show, sparsity):
    counts = Lines(
        title="Features represented",
        x=Axis(label="sparsity", low=0, high=1),
        y=Axis(label="features", low=0, high=N),
        series=[
            Series(name="ReLU", x=sparsity.tolist(), y=held.tolist()),
            Series(name="linear", x=sparsity.tolist(), y=held_linear.tolist(), faint=True),
        ],
        rules=[Rule(at=M, label="dimensions")],
    )
    mo.ui.anywidget(show(counts))
    return


@app.cell(hide_code=True)
def _(mo):
    mo.md(r"""
    ## Its geometry

    The sparsest model has five directions in a plane. If all were alike they would be a regular pentagon: neighbours 72°
    apart, and each with $D = 2/5$ of a dimension to itself, where $D_i = |W_i|^2 / \sum_j (\hat W_i \cdot W_j)^2$.
    """)
    return


@app.cell
def _(dimensionality, np, toys):
    sparse = toys.W[-1]
    angles = np.sort(np.degrees(np.arctan2(sparse[1], sparse[0])) % 360)
    between = np.diff(np.append(angles, angles[0] + 360))
    share = dimensionality(toys.W[-1:])[0]
    return between, share, sparse


@app.cell(hide_code=True)
def _(between, mo, share):
    mo.md(f"""
    Measured: neighbours are {", ".join(f"{a:.0f}°" for a in between)} apart, and the features have
    {share.min():.2f} to {share.max():.2f} of a dimension each, {share.sum():.2f} together. Nobody put a pentagon there: it is
    what five things do that push each other away in a plane.
    """)
    return


@app.cell(hide_code=True)
def _(mo):
    mo.md(r"""
    ## Finding the features again

    Suppose we saw only what the network holds, the two numbers $h = Wx$ for many inputs, and knew nothing of $x$. How near do
    we come to the five directions? A direction counts as found if some answer has a cosine above .97 with it.

    - **The neurons**: each of the two numbers is taken for a feature.
    - **Principal components**: the directions of most variance.
    - **A sparse dictionary**: five directions, of which two may fire at once.
    """)
    return


@app.cell
def _(N, Rows, fit_dictionary, np, sparse, torch):
    rng = np.random.default_rng(1)
    x = rng.random((60_000, N)) * (rng.random((60_000, N)) < 0.03)
    x = x[x.any(1)].astype(np.float32)
    h = (x @ sparse.T).astype(np.float32)
    truth = sparse / np.linalg.norm(sparse, axis=0)

    def found(directions):
        unit = directions / np.linalg.norm(directions, axis=1, keepdims=True)
        return int(((unit @ truth).max(0) > 0.97).sum())

    spread = np.linalg.eigh(np.cov(h.T))[1].T
    learned = fit_dictionary(Rows(h), "topk", n_features=N, k=2, epochs=30, seed=0)
    with torch.no_grad():
        rebuilt = learned.decode(learned.encode(torch.from_numpy(h))).numpy()
    fvu_dictionary = float(((h - rebuilt) ** 2).sum() / ((h - h.mean(0)) ** 2).sum())
    results = {
        "neurons": found(np.concatenate([np.eye(2), -np.eye(2)])),
        "principal components": found(np.concatenate([spread, -spread])),
        "sparse dictionary": found(learned.W_dec.numpy()),
    }
    return fvu_dictionary, results


@app.cell(hide_code=True)
def _(N, fvu_dictionary, mo, results):
    rows = "\n".join(f"    | {name} | {n} of {N} |" for name, n in results.items())
    mo.md(f"""
    | method | features found |
    |---|--:|
{rows}

    Two components explain all the variance of two numbers, which is why explained variance could not warn us: the
    principal components have an error of 0 and find {results["principal components"]}; the dictionary leaves {fvu_dictionary:.3f} of the
    variance unexplained and finds {results["sparse dictionary"]}. What tells features from mere directions is that few of
    them are there at a time, and only the dictionary was told so.
    """)
    return


@app.cell(hide_code=True)
def _(mo):
    mo.md(r"""
    ## And a trap for dictionaries

    It would be a poor end if sparse dictionaries were simply right. physalis keeps a catalogue of beliefs with the smallest
    model in which each is false, and a control in which the cause is taken out. This is the one about low error:
    """)
    return


@app.cell
def _(find_counterexamples, measure):
    trap = find_counterexamples(["CX-06"])[0]
    sprung = measure(trap, seeds=(0,))
    return sprung, trap


@app.cell(hide_code=True)
def _(mo, sprung, trap):
    naive, true = (f.value for f in sprung.findings[:2])
    mo.md(f"""
    > **“{trap.belief}”**

    {trap.model}

    On the scale “{trap.scale}” the naive reading says **{naive:.2f}** and the truth is **{true:.2f}**. {trap.truth}

    In the control, {trap.control}, the two are {sprung.control_gap.value:.2f} apart. So the gap goes with its cause, and
    the lesson is not that dictionaries fail, but that their error does not tell. `physalis counterexample methods` runs
    physalis's own methods through all the traps, failures included.
    """)
    return naive, true


if __name__ == "__main__":
    app.run()
