"""The commands `physalis compare`: two dictionaries side by side, and a row of them as a tree of features."""

from pathlib import Path
from typing import Annotated

import cyclopts
from cyclopts import Parameter

from physalis.cli.amounts import Amount
from physalis.cli.options import Device, Json, Out, Proxy, given

app = cyclopts.App(name="compare", help="Dictionaries held against each other: what is shared, split and unique.")


@app.command
def pair(
    a: Path, b: Path, activations: list[Path] | None = None, /, *, out: Out, writes: list[Path] | None = None,
    tokens: Amount = None, rate: float | None = None, seed: int | None = None, device: Device = None,
    json: Json = False,
) -> None:  # fmt: skip
    """Match the features of A with those of B: by direction, and with the ACTIVATIONS that both read also by what they
    fire on. WRITES are those that transcoders predict, unless they were recorded together. RATE is the share of what is
    called found that may be chance."""
    from physalis.cli import comparisons
    from physalis.comparing.comparison import compare

    options = given(writes=writes, tokens=tokens, rate=rate, seed=seed, device=device)
    found = compare(a, b, activations, out=out, **options)
    comparisons.show_pair(found.summary, json=json)


@app.command
def tree(
    *dictionaries: Path, activations: list[Path], out: Out, writes: list[Path] | None = None, tokens: Amount = None,
    rate: float | None = None, seed: int | None = None, device: Device = None, json: Json = False,
) -> None:  # fmt: skip
    """Place every feature of the DICTIONARIES, given from narrow to wide, below one of the dictionary before: how
    features split as dictionaries widen. ACTIVATIONS and WRITES are what all of them read and predict."""
    from physalis.cli import comparisons
    from physalis.comparing.lineage import grow

    options = given(writes=writes, tokens=tokens, rate=rate, seed=seed, device=device)
    grown = grow(dictionaries, activations, out=out, **options)
    comparisons.show_tree(grown.summary, json=json)


@app.command(name="serve")
def serve_compared(
    folder: Path, /, *, atlases: Annotated[list[Path] | None, Parameter(consume_multiple=True)] = None,
    host: str | None = None, port: int | None = None, token: str | None = None, origin: str | None = None,
    proxy: Proxy = None,
) -> None:  # fmt: skip
    """Show what `pair` or `tree` wrote into FOLDER to browsers on this machine. With ATLASES of the dictionaries,
    features have headlines. Other machines need the TOKEN; ORIGIN is where a proxy shows the page."""
    from physalis.web.comparing import serve_comparison

    serve_comparison(folder, **given(atlases=atlases, host=host, port=port, token=token, origin=origin, proxies=proxy))
