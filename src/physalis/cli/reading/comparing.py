"""The commands `physalis compare`: two dictionaries side by side, and a row of them as a tree of features."""

from pathlib import Path
from typing import Annotated

import cyclopts
from cyclopts import Parameter

from physalis.cli.arguments import early
from physalis.cli.arguments.amounts import Amount
from physalis.cli.arguments.help import page
from physalis.cli.arguments.options import Device, Host, Json, Order, Origin, Out, Port, Proxy, Share, Token, given

app = cyclopts.App(name="compare", help="What dictionaries share, split and have alone; served, too.")

Rate = Annotated[Share, Parameter(help="Share of what is called found that may be chance.")]
Tokens = Annotated[Amount, Parameter(help="Tokens on which features' activations are compared.")]
Predicted = Annotated[
    list[Path] | None,
    Parameter(
        help="Recordings of what transcoders predict; looked for beside ACTIVATIONS unless given. Repeatable.",
        metavar="FOLDER",
    ),
]  # fmt: skip
Codes = Annotated[
    list[Path] | None,
    Parameter(help="Folder that `encode` wrote of one of them, to be read instead. Repeatable.", metavar="FOLDER"),
]  # fmt: skip


@app.command(**page(of="comparing.comparison.compare", example="physalis compare pair sae tuned acts --out both"))
def pair(
    a: Annotated[Path, Parameter(help="Folder of a dictionary.")],
    b: Annotated[Path, Parameter(help="Folder of another.")],
    activations: Annotated[
        list[Path] | None,
        Parameter(help="Folders that `record` wrote, which both read: features are matched by their activations, too."),
    ] = None,
    /,
    *,
    out: Out,
    writes: Predicted = None,
    codes: Codes = None,
    tokens: Tokens = None,
    rate: Rate = None,
    seed: Order = None,
    device: Device = None,
    json: Json = False,
) -> None:
    """Match the features of two dictionaries.

    By direction, and with ACTIVATIONS also by what they fire on.
    """
    early.recordings(activations, writes)
    early.codes(codes)
    early.out(
        out, "comparison", a=early.dictionary(a).hash, b=early.dictionary(b).hash, rate=rate, seed=seed,
        tokens=tokens if activations else None,
    )  # fmt: skip
    from physalis.cli.shown import comparisons
    from physalis.comparing.comparison import compare

    options = given(writes=writes, codes=codes, tokens=tokens, rate=rate, seed=seed, device=device)
    found = compare(a, b, activations, out=out, **options)
    comparisons.show_pair(found.summary, (a, b), json=json)


@app.command(
    **page(
        of="comparing.growing.grow",
        example="physalis train acts --features 4x --out narrow && "
        "physalis compare tree narrow sae --activations acts --out tree",
    )
)
def tree(
    *dictionaries: Annotated[Path, Parameter(help="Folders of dictionaries, from narrow to wide.")],
    activations: Annotated[
        list[Path], Parameter(help="Folder that `record` wrote: what all of them read. Repeatable.", metavar="FOLDER")
    ],
    out: Out,
    writes: Predicted = None,
    codes: Codes = None,
    tokens: Tokens = None,
    rate: Rate = None,
    seed: Order = None,
    device: Device = None,
    json: Json = False,
) -> None:
    """Show how features split as dictionaries widen.

    Every feature is placed below one of the dictionary before.
    """
    for each in dictionaries:
        early.dictionary(each)
    early.recordings(activations, writes)
    early.codes(codes)
    early.out(out, "lineage", tokens=tokens, rate=rate, seed=seed)
    from physalis.cli.shown import comparisons
    from physalis.comparing.growing import grow

    options = given(writes=writes, codes=codes, tokens=tokens, rate=rate, seed=seed, device=device)
    grown = grow(dictionaries, activations, out=out, **options)
    comparisons.show_tree(grown.summary, json=json)


@app.command(
    name="serve",
    **page(of="web.comparison.serving.serve_comparison", proxy="proxies", example="physalis compare serve both"),
)
def serve_compared(
    folder: Annotated[Path, Parameter(help="Folder that `compare pair` or `compare tree` wrote.")],
    /,
    *,
    atlases: Annotated[
        list[Path] | None,
        Parameter(
            help="Atlases of the dictionaries, which give features headlines.", consume_multiple=True, metavar="FOLDER"
        ),
    ] = None,
    host: Host = None,
    port: Port = None,
    token: Token = None,
    origin: Origin = None,
    proxy: Proxy = None,
) -> None:
    """Show a comparison or a tree in a browser.

    Other machines need the --token.
    """
    from physalis.cli.reading.serving import say_goodbye
    from physalis.web.comparison.serving import serve_comparison

    serve_comparison(folder, **given(atlases=atlases, host=host, port=port, token=token, origin=origin, proxies=proxy))
    say_goodbye()
