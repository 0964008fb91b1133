"""The commands `physalis serve` and `physalis watch`: an atlas, or a run of `train`, in a browser."""

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from physalis import artifact
from physalis.cli.arguments import early
from physalis.cli.arguments.amounts import Amount, Count
from physalis.cli.arguments.help import verb
from physalis.cli.arguments.options import Articles, Computing, Device, Host, Origin, Port, Proxy, Token, given


def say_goodbye() -> None:
    """What a server says last."""
    print("physalis: the server has stopped.", file=sys.stderr)


@verb(
    of="web.server.serving.serve",
    proxy="proxies",
    example="physalis serve atlas --dictionary sae --activations acts --author Ada",
)
def serve(
    folders: Annotated[
        list[Path],
        Parameter(help="Atlases, graphs, comparisons, trees, labs; or folders of some, with a table of contents."),
    ],
    /,
    *,
    dictionary: Annotated[
        Path | None,
        Parameter(help="The dictionary an atlas is of: texts can be tried, and features steered.", metavar="FOLDER"),
    ] = None,
    activations: Annotated[
        Path | None,
        Parameter(help="What the dictionary was trained on: what steering does can be measured.", metavar="FOLDER"),
    ] = None,
    author: Annotated[
        str | None,
        Parameter(help="In whose name visitors write labels and notes; without, they only read.", metavar="NAME"),
    ] = None,
    host: Host = None,
    port: Port = None,
    token: Token = None,
    origin: Origin = None,
    proxy: Proxy = None,
    tree: Annotated[
        Path | None,
        Parameter(help="Folder that `compare tree` wrote: features show their family.", metavar="FOLDER"),
    ] = None,
    article: Articles = None,
    explain: Annotated[
        bool | None,
        Parameter(negative="", help="Explain features meanwhile, those that are opened first. Takes one core."),
    ] = None,
    computing: Computing = Computing(),  # noqa: B008 (frozen)
) -> None:
    """Show an atlas in a browser, or all that a folder holds.

    Comments are written by who was invited. Other machines need the --token.
    """
    if dictionary is not None:
        artifact.read(dictionary, "dictionary")
        early.recordings(activations)
    from physalis.web.server.serving import serve as serve_

    beside = given(
        dictionary=dictionary, activations=activations, author=author, tree=tree, articles=article, explain=explain
    )
    shown = given(host=host, port=port, token=token, origin=origin, proxies=proxy)
    shown |= given(device=computing.device, dtype=computing.dtype)
    serve_(folders, **beside, **shown)
    say_goodbye()


@verb(of="web.server.serving.watch", proxy="proxies", example="physalis watch sae")
def watch(
    run: Annotated[Path, Parameter(help="Folder named with --out of `train`, also before it is there.")],
    /,
    *,
    activations: Annotated[
        Path | None,
        Parameter(help="What it trains on; looked for beside it unless given.", metavar="FOLDER"),
    ] = None,
    features: Annotated[Count, Parameter(help="Features to show.")] = None,
    examples: Annotated[Count, Parameter(help="Examples of each.")] = None,
    tokens: Annotated[Amount, Parameter(help="Held-out tokens in which examples are looked for.")] = None,
    host: Host = None,
    port: Port = None,
    token: Token = None,
    origin: Origin = None,
    proxy: Proxy = None,
    device: Annotated[Device, Parameter(help="Where features are read: cpu, cuda, cuda:1 or mps.")] = None,
) -> None:
    """Show a run of train in a browser while it goes on.

    Its curves, the time left, and the first of its features. Other machines need the --token.
    """
    from physalis.web.server.serving import watch as watch_

    options = given(features=features, examples=examples, tokens=tokens, host=host, port=port, token=token)
    watch_(run, **given(activations=activations, origin=origin, proxies=proxy, device=device), **options)
    say_goodbye()
