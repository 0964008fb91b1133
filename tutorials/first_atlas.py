"""From text to an atlas, and one feature of it put to the test: a walk of half a minute that needs no network."""

import marimo

__generated_with = "0.25.2"
app = marimo.App(width="medium")


@app.cell(hide_code=True)
def _(mo):
    mo.md(r"""
    # A first atlas

    We record what a network computes on some text, learn a sparse dictionary of it, build an atlas of the dictionary's
    features, and then do what an atlas is for: look at one feature, say what we believe it is, and try to be wrong.

    The network is as small as can be, a transformer of three layers that reads bytes, and **it was never trained**.
    That makes the walk short, and it keeps us honest: whatever we find cannot be something it learned about language.
    For the same walk on a model that did learn, put `"smollm2"`, `"stdlib"` and `"L9.resid_post"` into the next cell,
    and have some minutes of patience.
    """)
    return


@app.cell
def _():
    import os
    import sysconfig
    import tempfile
    from collections import Counter
    from pathlib import Path

    import marimo as mo
    import numpy as np

    import physalis as ph
    from physalis.search import Reader
    from physalis.web.notebooks.widgets import show

    MODEL, TEXT, SITE = "tiny", os.path.join(sysconfig.get_path("stdlib"), "asyncio"), "L1.resid_post"
    out = Path(tempfile.mkdtemp(prefix="first-atlas-"))
    return Counter, MODEL, Reader, SITE, TEXT, mo, np, out, ph, show


@app.cell(hide_code=True)
def _(mo):
    mo.md(r"""
    ## Record

    One forward pass over the text, keeping the residual stream after the middle layer. A tenth of the text is held
    out: the dictionary will never see it. The first position of each context is left out, because what stands there
    is about being first, not about the text.
    """)
    return


@app.cell
def _(MODEL, SITE, TEXT, out, ph):
    model = ph.load_model(MODEL)
    [activations] = ph.record(model, TEXT, [ph.Site.parse(SITE)], [out / "acts"], tokens=60_000, context=64)
    return activations, model


@app.cell(hide_code=True)
def _(activations, mo):
    mo.md(f"""
    That gave {activations.n_tokens:,} activations of width {activations.d}; {activations.held_out.n_tokens:,} are
    held out.

    ## Train and judge

    The dictionary has eight features for each dimension, and rebuilds each activation from four of them.
    """)
    return


@app.cell
def _(activations, model, out, ph):
    config = ph.TopKConfig(d_in=activations.d, d_out=activations.d, n_features=8 * activations.d, k=4)
    ph.train(activations, [config], [out / "sae"], batch_size=1024, epochs=4)
    judged = ph.evaluate(out / "sae", out / "acts", model, out=out / "eval", splice_tokens=2000).facts
    return (judged,)


@app.cell(hide_code=True)
def _(judged, mo):
    fvu = {"this dictionary": judged["metrics"]["fvu"]["value"]}
    fvu |= {each["name"]: each["metrics"]["fvu"]["value"] for each in judged["baselines"]}
    best_baseline = min(list(fvu.values())[1:])
    mo.md(
        "| on held-out text | variance unexplained |\n|---|--:|\n"
        + "\n".join(f"| {name} | {value:.3f} |" for name, value in fvu.items())
        + f"\n\n{judged['metrics']['dead_fraction']['value']:.0%} of the features never fire. "
        "A number alone says little; beside its baselines it says that the directions were worth learning: the same "
        "encoder trained on random ones, and as many principal components, leave more."
    )
    return best_baseline, fvu


@app.cell(hide_code=True)
def _(mo):
    mo.md(r"""
    ## The atlas

    Every feature with the text on which it fires, at every level of its code. With `causes` the model is also run again
    with the feature taken out, for those that stand out.
    """)
    return


@app.cell
def _(model, out, ph):
    atlas = ph.build_atlas(out / "sae", out / "acts", model, out / "atlas", evaluation=out / "eval", causes=64)
    return (atlas,)


@app.cell(hide_code=True)
def _(mo):
    mo.md(r"""
    Which one shall we look at? Of the features that were edited, the one with the fewest bits of entropy over tokens
    among those that fire on a letter at least once in two hundred tokens: the one that seems easiest.
    """)
    return


@app.cell
def _(atlas):
    everyone = atlas.list(limit=len(atlas)).rows
    simple = [row for row in everyone if len(row.headline) == 1 and row.headline.isalpha() and row.density > 0.005]
    simple = sorted(simple, key=lambda row: row.token_entropy)
    chosen = next((row for row in simple if atlas[row.id].causes is not None), simple[0])
    feature, letter = atlas[chosen.id], chosen.headline
    return feature, letter


@app.cell
def _(feature, mo, show):
    mo.ui.anywidget(show(feature))
    return


@app.cell(hide_code=True)
def _(feature, letter, mo):
    mo.md(f"""
    ## A claim, and an attempt to break it

    Feature {feature.id} looks like a feature of **“{letter}”**: its strongest examples say so, and its entropy over
    tokens is {feature.token_entropy:.2f} bits. Examples are what it fires on. They cannot say what it does *not* fire
    on, so we write text that the recording never saw and ask both ways: of the places where it fires, how many are
    “{letter}”; and of all “{letter}”, on how many does it fire?
    """)
    return


@app.cell
def _(Counter, Reader, feature, letter, model, np, out):
    poem = (
        'Forty-two grey geese flew over the frozen lake. "Where do you think they are going?" asked the boy.',
        "def area(width, height):\n    return width * height  # in square metres, if both are metres",
        "The quick brown fox jumps over the lazy dog; pack my box with five dozen liquor jugs.",
        "for each row in table: if row.key not in seen: seen.add(row.key); yield row",
        "It was the best of times, it was the worst of times, it was the age of wisdom.",
        "SELECT name, age FROM people WHERE age > 30 ORDER BY name DESC;",
    )
    reader = Reader.open(out / "sae", model)
    readings = reader.read(poem)
    fires = np.concatenate([reading.of(feature.id).numpy() > 0 for reading in readings])
    shown = [token for reading in readings for token in reading.tokens]
    is_letter = np.array([token == letter for token in shown])
    precision = float(is_letter[fires].mean()) if fires.any() else 0.0
    recall = float(fires[is_letter].mean()) if is_letter.any() else 0.0
    chance = float(is_letter.mean())
    others = Counter(token for token, hit, letters in zip(shown, fires, is_letter, strict=True) if hit and not letters)
    top = [example.tokens[example.position] == letter for example in feature.groups[0].examples]
    return chance, fires, is_letter, others, precision, recall, top


@app.cell(hide_code=True)
def _(chance, fires, is_letter, letter, mo, others, precision, recall, top):
    rest = ", ".join(f"{n} × `{token}`" for token, n in others.most_common(5))
    lesson = (
        "So the strongest examples told the truth and not the whole of it. What else a feature fires on stands at the "
        "lower levels of its page, which is why the page has them."
        if all(top) and others
        else "So far the claim stands."
    )
    mo.md(f"""
    It fired on {int(fires.sum())} of {len(fires)} bytes. **{precision:.0%}** of these are “{letter}”, where
    {chance:.1%} of all bytes are{f"; the others are {rest}" if rest else ""}. Of {int(is_letter.sum())} “{letter}” it
    fired on **{recall:.0%}**. Of its {len(top)} strongest examples in the atlas, {sum(top)} are “{letter}”.
    {lesson}
    """)
    return


@app.cell(hide_code=True)
def _(feature, mo):
    if feature.causes is None:
        verdict = feature.unmeasured
    else:
        ablation = feature.causes.ablation
        change, beyond = ablation.change, ablation.beyond_random
        clear = beyond.low > 0 or beyond.high < 0
        verdict = (
            f"Taking the feature away where it fires changes the loss by {change.value:+.4f} nats a token "
            f"[{change.low:+.4f}, {change.high:+.4f}]; beyond what as much of a random direction does, by "
            f"{beyond.value:+.4f} [{beyond.low:+.4f}, {beyond.high:+.4f}]. "
            + (
                "The interval leaves 0 out, so the network computes with it, though it never learned to: what is "
                "written into a stream is read by whatever comes after."
                if clear
                else "The interval holds 0: nothing shows that the network, which never learned anything, uses it."
            )
        )
    mo.md(f"""
    ## Does it matter?

    That a feature can be read does not mean that the network uses it. {verdict}

    A clear feature of a network that knows nothing: keep it in mind when an atlas of a large model looks meaningful.
    Compare with a model that was never trained, or with random directions, before believing that training put a
    feature there.

    ## Further

    `ph.serve(atlas.folder)` opens all of it in a browser; `physalis watch` shows the features while a dictionary still
    trains; `physalis counterexample show CX-20` measures what this walk only told.
    """)
    return (verdict,)


if __name__ == "__main__":
    app.run()
