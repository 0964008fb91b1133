"""The commands `physalis lab` and `physalis counterexample`."""

import sys
from pathlib import Path
from typing import Annotated

import cyclopts
from cyclopts import Parameter

from physalis.cli.options import Json, Proxy, given

app = cyclopts.App(name="lab", help="Toy models whose truth is known, held against what was published.")


@app.command
def check(
    *ids: str, all_: Annotated[bool, Parameter(name="--all", negative="", help="The slow ones too.")] = False,
    json: Json = False,
) -> None:  # fmt: skip
    """Run experiments and hold them against what their papers say, each beside a control that must fail. IDS are such
    as TMS-1; without any, the fast ones. Ends with code 1 if one does not pass."""
    from physalis.cli import checks
    from physalis.lab.experiments import find_experiments

    if not checks.show((experiment.run() for experiment in find_experiments([*ids], slow=all_)), json=json):
        sys.exit(1)


@app.command
def publish(out: Path, /, *ids: str) -> None:
    """Run experiments and write their pages into OUT: a site of plain files, to be opened or served by anything. IDS
    are such as TMS-1; without any, all. Run again, only what has changed is run."""
    from physalis.web.publishing import publish_lab

    publish_lab(out, [*ids] or None)
    print(out / "index.html")


@app.command(name="serve")
def serve_lab(out: Path, /, *, host: str | None = None, port: int | None = None, proxy: Proxy = None) -> None:
    """Serve published pages to browsers on this machine."""
    from physalis.web.lab import serve_lab as serve_

    serve_(out, **given(host=host, port=port, proxies=proxy))


counterexample = cyclopts.App(name="counterexample", help="Beliefs, and the smallest models in which they are false.")


@counterexample.command(name="list")
def list_counterexamples(*, json: Json = False) -> None:
    """The catalogue: each counterexample's id and the belief that it refutes."""
    from physalis.cli import counterexamples
    from physalis.lab.counterexamples import COUNTEREXAMPLES

    counterexamples.show_list(COUNTEREXAMPLES, json=json)


@counterexample.command(name="show")
def show_counterexample(id_: Annotated[str, Parameter(name="ID")], /, *, json: Json = False) -> None:
    """All that one says: the belief, the model, what the naive method says, what is true, and what warns of it."""
    from physalis.cli import counterexamples
    from physalis.lab.counterexamples import find_counterexamples

    counterexamples.show_one(find_counterexamples([id_])[0], json=json)


@counterexample.command(name="run")
def run_counterexamples(*ids: str, seeds: int | None = None, json: Json = False) -> None:
    """Measure the gap over SEEDS seeds, beside a control without its cause. IDS are such as CX-03; without any, all.
    Ends with code 1 if one does not hold."""
    from physalis.cli import counterexamples
    from physalis.lab.counterexamples import find_counterexamples, measure

    found = find_counterexamples([*ids] or None)
    options = given(seeds=None if seeds is None else range(seeds))
    if not counterexamples.show_runs((measure(each, **options) for each in found), json=json):
        sys.exit(1)


@counterexample.command(name="methods")
def judge_methods(*, json: Json = False) -> None:
    """The report cards of physalis's own methods: which traps each falls into."""
    from physalis.cli import counterexamples
    from physalis.lab.methods import OWN
    from physalis.lab.suite import run_suite

    counterexamples.show_cards((run_suite(method) for method in OWN), json=json)
