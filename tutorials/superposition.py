"""Superposition: five features in two dimensions, what their geometry says, and methods that look for them."""

import marimo

__generated_with = "0.25.2"
app = marimo.App(width="medium")


@app.cell(hide_code=True)
def _(mo):
    mo.md(r"""
    # More features than dimensions

    A network has to tell five things from each other and has room for two. What does it do? It depends on how often
    two of the five are there at once. This page trains the smallest model in which that can be seen (Elhage et al.
    2022), looks at what it learned, and then sets methods on it that are meant to find features. One makes hardly an
    error and is fooled.
    """)
    return


@app.cell
def _():
    import marimo as mo
    import numpy as np
    import torch

    from physalis.lab.fitting import Rows, fit_dictionary
    from physalis.lab.pages import Axis, Lines, Rule, Series, Vectors
    from physalis.lab.toys.superposition.models import dimensionality, represented, train_toys
    from physalis.web.notebooks.widgets import show

    return (
        Axis, Lines, Rows, Rule, Series, Vectors, dimensionality, fit_dictionary, mo, np, represented, show, torch,
        train_toys,
    )  # fmt: skip


@app.cell(hide_code=True)
def _(mo):
    mo.md(r"""
    ## The model

    Five numbers go in, two come out of a matrix $W$, and the same matrix must restore the five:
    $x' = \mathrm{relu}(W^\top W x + b)$. A column of $W$ is where a feature lies in the plane. Each feature is absent
    with probability $S$, its sparsity; feature $i$ matters $0.9^i$ as much as the first. We train one model for each
    sparsity, and beside each the same model without the ReLU.
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
    Where all features are there at once, the model keeps the {held[0]} that matter most, at right angles, and forgets
    the rest: there are {M} dimensions. Where they are seldom there together it keeps {held[-1]}, and pays with a
    little noise from each to the others, which the ReLU cuts off. Without the ReLU nothing cuts it off, and the
    linear model never keeps more than {held_linear.max()}.
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

    The sparsest model has five directions in a plane. If all were alike they would be a regular pentagon: neighbours
    72° apart, and each with $D = 2/5$ of a dimension to itself, where
    $D_i = |W_i|^2 / \sum_j (\hat W_i \cdot W_j)^2$.
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
    Measured: neighbours are {", ".join(f"{a:.0f}°" for a in between)} apart, and the features have {share.min():.2f}
    to {share.max():.2f} of a dimension each, {share.sum():.2f} together. Nobody put a pentagon there: it is what five
    things do that push each other away in a plane.
    """)
    return


@app.cell(hide_code=True)
def _(mo):
    mo.md(r"""
    ## Finding the features again

    Suppose we saw only what the network holds, the two numbers $h = Wx$ for many inputs, and knew nothing of $x$. How
    near do we come to the five directions? A direction counts as found if some answer has a cosine above .995 with
    it. Beside what is found stands the share of the variance of $h$ that each method leaves unexplained.

    - **The neurons**: each of the two numbers is taken for a feature, in both signs.
    - **Principal components**: the directions of most variance, in both signs.
    - **A sparse dictionary** of eight directions (who would know that there are five?), of which two may fire at once,
      and one of which one may; each from three starts, of which the one with the smallest error counts.
    """)
    return


@app.cell
def _(N, Rows, fit_dictionary, np, sparse, torch):
    rng = np.random.default_rng(1)
    x = rng.random((30_000, N)) * (rng.random((30_000, N)) < 0.03)
    x = x[x.any(1)].astype(np.float32)
    h = (x @ sparse.T).astype(np.float32)
    truth = sparse / np.linalg.norm(sparse, axis=0)

    def found(directions):
        unit = directions / np.linalg.norm(directions, axis=1, keepdims=True)
        return int(((unit @ truth).max(0) > 0.995).sum())

    def by_dictionary(k):
        made = []
        for seed in range(3):
            learned = fit_dictionary(Rows(h), "topk", n_features=8, k=k, epochs=12, batch_size=128, seed=seed)
            with torch.no_grad():
                rebuilt = learned.decode(learned.encode(torch.from_numpy(h))).numpy()
            error = float(((h - rebuilt) ** 2).sum() / ((h - h.mean(0)) ** 2).sum())
            made.append((error, found(learned.W_dec.numpy())))
        error, n = min(made)
        return n, error

    components = np.linalg.eigh(np.cov(h.T))[1].T
    results = {
        "neurons": (found(np.concatenate([np.eye(2), -np.eye(2)])), 0.0),
        "principal components": (found(np.concatenate([components, -components])), 0.0),
        "dictionary, two at once": by_dictionary(2),
        "dictionary, one at a time": by_dictionary(1),
    }
    together = float((x > 0).sum(1).mean())
    return results, together


@app.cell(hide_code=True)
def _(N, mo, results, together):
    table = "\n".join(f"| {name} | {n} of {N} | {error:.2g} |" for name, (n, error) in results.items())
    naive, right = results["dictionary, two at once"], results["dictionary, one at a time"]
    mo.vstack(
        [
            mo.md("| method | features found | unexplained |\n|---|--:|--:|\n" + table),
            mo.md(f"""
    By its error the dictionary that may use two directions at once is nearly perfect, and it finds {naive[0]} of {N}.
    Any two directions rebuild any point of a plane, so nothing pushed it towards the true ones. The one that may use
    a single direction leaves {right[1] / max(naive[1], 1e-12):,.0f} times as much unexplained, and finds {right[0]}.
    On average {together:.2f} features are there where any is: that is what it had to be told, and no error would have
    told us.

    **The belief “a dictionary with a low error has found the features” is false here**, in the smallest model in
    which it can be. Where a sparsity is chosen by the error alone, the same happens in large ones.
    """),
        ]
    )
    return


@app.cell(hide_code=True)
def _(mo):
    mo.md(r"""
    ## Further

    `physalis counterexample list` names two dozen beliefs like this one, each with the smallest model in which it is
    false and a control in which its cause is taken out; CX-06 is its larger sister. `physalis counterexample methods`
    runs physalis's own methods through all of them, failures included. `physalis lab check TMS-1` holds the curve
    above against what was published.
    """)
    return


if __name__ == "__main__":
    app.run()
