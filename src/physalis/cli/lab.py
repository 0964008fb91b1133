"""The commands `physalis lab` and `physalis counterexample`."""

import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import cyclopts
from cyclopts import Parameter

from physalis.cli.arguments.amounts import Count
from physalis.cli.arguments.help import page
from physalis.cli.arguments.options import Host, Json, Out, Port, Proxy, given

app = cyclopts.App(name="lab", help="Toy models whose truth is known, held against papers.")


@app.command(**page(example="physalis lab check TMS-1"))
def check(
    *ids: Annotated[str, Parameter(help="Experiments, such as TMS-1; without any, the fast ones.")],
    all_: Annotated[bool, Parameter(name="--all", negative="", help="The slow ones too.", show_default=False)] = False,
    json: Json = False,
) -> None:
    """Run experiments and hold them against their papers.

    Each stands beside a control that must fail. Ends with code 1 if one does not pass.
    """
    from physalis.cli.shown.lab import checks
    from physalis.lab.experiments import find_experiments

    experiments = find_experiments([*ids], slow=all_)
    if not checks.show(one_by_one(experiments, "check", lambda each: each.run()), json=json):
        sys.exit(1)


@app.command(**page(example="physalis lab publish lab TMS-1"))
def publish(out: Out, /, *ids: Annotated[str, Parameter(help="Experiments, such as TMS-1; without any, all.")]) -> None:
    """Run experiments and write their pages.

    OUT becomes a site of plain files, to be opened or served by anything. Run again, only what has changed is run.
    """
    from physalis.web.lab.publishing import publish_lab

    publish_lab(out, [*ids] or None)
    print(out / "index.html")


@app.command(name="serve", **page(of="web.lab.app.serve_lab", proxy="proxies", example="physalis lab serve lab"))
def serve_lab(
    folder: Annotated[Path, Parameter(help="Folder that `lab publish` wrote.")],
    /,
    *,
    host: Host = None,
    port: Port = None,
    proxy: Proxy = None,
) -> None:
    """Show published pages in a browser."""
    from physalis.cli.reading.serving import say_goodbye
    from physalis.web.lab.app import serve_lab as serve_

    serve_(folder, **given(host=host, port=port, proxies=proxy))
    say_goodbye()


counterexample = cyclopts.App(name="counterexample", help="Beliefs, and the smallest models that refute them.")


@counterexample.command(name="list", **page(example="physalis counterexample list"))
def list_counterexamples(*, json: Json = False) -> None:
    """Name each counterexample and the belief that it refutes."""
    from physalis.cli.shown.lab import counterexamples
    from physalis.lab.counterexamples import COUNTEREXAMPLES

    counterexamples.show_list(COUNTEREXAMPLES, json=json)


@counterexample.command(name="show", **page(example="physalis counterexample show CX-03"))
def show_counterexample(
    id_: Annotated[str, Parameter(name="ID", help="A counterexample, such as CX-03.")], /, *, json: Json = False
) -> None:
    """Tell all of one: belief, model, truth, and what warns of it."""
    from physalis.cli.shown.lab import counterexamples
    from physalis.lab.counterexamples import find_counterexamples

    counterexamples.show_one(find_counterexamples([id_])[0], json=json)


@counterexample.command(
    name="run",
    **page(of="lab.counterexamples.base.measure", example="physalis counterexample run CX-03 --seeds 2"),
)
def run_counterexamples(
    *ids: Annotated[str, Parameter(help="Counterexamples, such as CX-03; without any, all.")],
    seeds: Annotated[Count, Parameter(help="How many seeds to measure it over.")] = None,
    json: Json = False,
) -> None:
    """Measure the gap, beside a control without its cause.

    Ends with code 1 if one does not hold.
    """
    from physalis.cli.shown.lab import counterexamples
    from physalis.lab.counterexamples import find_counterexamples, measure

    found = find_counterexamples([*ids] or None)
    options = given(seeds=None if seeds is None else range(seeds))
    runs = one_by_one(found, "counterexample", lambda each: measure(each, **options))
    if not counterexamples.show_runs(runs, json=json):
        sys.exit(1)


@counterexample.command(name="methods", **page(example="physalis counterexample methods"))
def judge_methods(*, json: Json = False) -> None:
    """Say which traps physalis's own methods fall into."""
    from physalis.cli.shown.lab import counterexamples
    from physalis.lab.methods import OWN
    from physalis.lab.suite import run_suite

    counterexamples.show_cards(one_by_one(OWN, "method", run_suite), json=json)


def one_by_one(of: Sequence[Any], what: str, run: Callable[[Any], Any]) -> Iterator[Any]:
    """What ``run`` makes of each, saying before each which it is and of how many: it may take minutes."""
    for place, each in enumerate(of, 1):
        name = getattr(each, "id", None) or getattr(each, "name", type(each).__name__)
        print(f"{what} {place} of {len(of)}: {name}", file=sys.stderr, flush=True)
        yield run(each)
