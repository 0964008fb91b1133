"""What the command line shows: a record as JSON, or as something a person can judge at a glance."""

import dataclasses
import json as json_
import re
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from rich.console import Console
from rich.table import Table
from rich.text import Text

from physalis.activations import Activations
from physalis.artifact import Manifest
from physalis.atlas import Atlas
from physalis.atlas.records import Example, Feature, Summary
from physalis.cli.arguments.options import Loading
from physalis.cli.learning.demo import Made
from physalis.cli.shown.console import make_console
from physalis.cli.shown.hints import beside, say_next
from physalis.codes import StoredCodes
from physalis.corpora.characters import plain
from physalis.display.counts import counted
from physalis.metrics import ENOUGH, Interval
from physalis.models import Model
from physalis.sweeping.sweeping import Sweep
from physalis.training import planning

TITLES = {
    "fvu": "variance unexplained (FVU)", "cosine": "cosine", "l0": "features a token (L0)",
    "ce_increase": "loss added when spliced in, nats", "kl": "KL to its own predictions, nats",
    "loss_recovered_zero": "loss recovered, against zero", "loss_recovered_mean": "loss recovered, against the mean",
    "dead_fraction": "dead features", "dense_fraction": "dense features (> 10 %)",
    "ce": "the model's own loss, nats",
}  # fmt: skip
STRIKING = 5
COUNTED = {
    "held out": "", "": "", "training": "; dead and dense features are counted on text it was trained on",
    "all": "; dead and dense features are counted on all text of the atlas, also what it was trained on",
}  # fmt: skip
"""Where shares of features stand on other text than the other numbers: few tokens make features look dead that are only
rare."""


def model_of(activations: Path, name: str | None, loading: Loading) -> Model:
    """The named model, or the one that the activations were recorded from."""
    if name is not None:
        return loading.load(name)
    return loading.load_found(Activations.open(activations).manifest.config["model"], "The recording")


def show(record: Any, *, json: bool) -> None:
    """Print a record: as JSON alone on standard output, or for a person."""
    if json:
        print(json_.dumps(_plain(record), indent=1))
        return
    console = make_console()
    match record:
        case Made():
            _demo(console, record)
        case Summary():
            _summary(console, record)
        case Activations():
            _activations(console, record)
        case StoredCodes():
            _codes(console, record)
        case list():
            for each in record:
                show(each, json=False)
        case Manifest(kind="evaluation"):
            _metrics(console, record.facts["metrics"], record.facts["baselines"])
            _measured_on(console, record.facts)
        case Manifest(kind="dictionary"):
            _dictionary(console, record)
        case planning.Plan():
            _plan(console, record)
        case Sweep():
            _sweep(console, record)
        case _:
            raise TypeError(f"nothing prints a {type(record).__name__}")


def show_fields(record: BaseModel, *, json: bool) -> None:
    """Print a small record: a line for each field that says something."""
    if json:
        print(record.model_dump_json(indent=1))
        return
    for name, value in record.model_dump().items():
        if isinstance(value, dict):
            value = [f"{key}: {said}" for key, said in value.items()]
        if isinstance(value, list | tuple):
            value = "".join(f"\n  {line}" for line in value) or "none"
        print(f"{name.replace('_', ' ')}: {value}")


def _plain(record: Any) -> Any:
    match record:
        case Activations() | StoredCodes():
            m = record.manifest
            return {
                "kind": m.kind,
                "folder": str(record.folder),
                "hash": m.hash,
                **m.model_dump(exclude={"kind", "files"}),
            }
        case Manifest(kind="evaluation" as kind):
            return {
                "kind": kind,
                "hash": record.hash,
                **record.facts,
                "inputs": record.inputs,
                "version": record.version,
            }
        case Manifest():
            return {"hash": record.hash, **record.model_dump(exclude={"files"})}
        case list():
            return [_plain(each) for each in record]
        case BaseModel():
            return record.model_dump()
        case _ if dataclasses.is_dataclass(record) and not isinstance(record, type):
            return dataclasses.asdict(record)
        case _:
            return record


def _metrics(console: Console, found: dict[str, Any], baselines: list[dict[str, Any]]) -> None:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("", no_wrap=True)
    table.add_column("this dictionary", justify="right", no_wrap=True)
    for baseline in baselines:
        table.add_column(baseline["name"], justify="right", style="dim", max_width=26)
    for name, title in TITLES.items():
        if name in found:
            cells = [_number(each.get(name)) for each in (found, *(b["metrics"] for b in baselines))]
            # an interval below its number, not wherever the column ends
            table.add_row(title, *map(_stacked, cells))
    console.print(table)


def _measured_on(console: Console, facts: dict[str, Any]) -> None:
    """What the numbers stand on."""
    for site, found in facts["sites"].items():
        console.print(f"FVU at {site}: {ranged(found['value'], found['low'], found['high'])}")
    documents, firing = facts["documents"], facts["firing"]
    said = [f"Rebuilt: {facts['n_held_out']:,} held-out tokens of {counted(documents['held_out'], 'document')}."]
    if facts["not_spliced"]:
        said.append(f"Nothing was spliced: {facts['not_spliced']}")
    else:
        said.append(f"Spliced: {facts['n_spliced']:,} predictions in {counted(documents['spliced'], 'document')}.")
    said.append("Intervals are 95 %: over documents of what is averaged over tokens, Wilson's of shares of features.")
    if min(documents["held_out"], documents["spliced"] or ENOUGH) < ENOUGH:
        said.append(f"Fewer than {ENOUGH} documents are too few for one: record more of them, or raise --held-out.")
    said.append(f"Dead and dense features are counted on {firing['tokens']:,} tokens of the {firing['text']} text.")
    console.print(" ".join(said), highlight=False)


def _stacked(number: Text) -> Text:
    value, _, interval = number.plain.partition(" ")
    return Text.assemble(value, *([("\n" + interval, "dim")] if interval else []), style=number.style)


def _number(estimate: Interval | None) -> Text:
    if estimate is None:
        return Text("–", style="dim")
    if estimate["low"] == estimate["high"] == estimate["value"]:
        return Text(f"{estimate['value']:.3g}")
    if estimate["low"] is None:  # said below the table, in which there is no room
        return Text.assemble(f"{estimate['value']:.3f} ", ("[–]", "dim"))
    value, _, ends = ranged(estimate["value"], estimate["low"], estimate["high"]).partition(" ")
    return Text.assemble(f"{value} ", (ends, "dim"))


def ranged(value: float, low: float | None, high: float | None, as_: str = ".3f") -> str:
    """A number with its interval, each formatted so; or that too few documents were held out for one."""
    ends = "too few documents" if low is None or high is None else f"{low:{as_}}, {high:{as_}}"
    return f"{value:{as_}} [{ends}]"


def _activations(console: Console, acts: Activations) -> None:
    dropped = acts.manifest.facts["dropped"]
    left_out = ", ".join(f"{n:,} {reason.replace('_', ' ')}" for reason, n in dropped.items() if n) or "none"
    n_documents = acts.manifest.facts["n_held_out_documents"]
    console.print(
        f"{acts.n_tokens:,} activations of {acts.manifest.config['model']} at {acts.site}, width {acts.d}, in "
        f"{acts.folder}\n{acts.held_out.n_tokens:,} of them are held out for judging, of {n_documents:,} documents. "
        f"Positions left out: {left_out}."
    )
    say_next("train", acts.folder, "--out", beside(acts.folder, "dictionary"))


def _codes(console: Console, codes: StoredCodes) -> None:
    bytes_ = sum((codes.folder / name).stat().st_size for name in codes.manifest.files)
    console.print(
        f"{codes.n_codes:,} codes of {codes.n_features:,} features on {codes.n_tokens:,} tokens, "
        f"{codes.n_codes / codes.n_tokens:.1f} a token, in {codes.folder} ({_size(bytes_)}). Features that never fire: "
        f"{int((codes.n_fired == 0).sum()):,}."
    )


def _dictionary(console: Console, m: Manifest) -> None:
    shape, last = m.config["dictionary"], m.facts.get("last")
    if last is None:  # another tool trained it
        console.print(f"{m.config['architecture']}, {shape['n_features']:,} features.")
        return
    tuned = m.facts.get("finetuned")
    if tuned is not None:
        seen = m.config["finetuning"]["tokens"]
        console.print(
            f"{m.config['architecture']}, {shape['n_features']:,} features, k = {shape['k']}, fine-tuned on {seen:,} "
            f"tokens.\nOn its last batch: {_goal(m, tuned)}FVU {tuned['fvu']:.3f}."
        )
        return
    console.print(
        f"{m.config['architecture']}, {shape['n_features']:,} features, k = {shape['k']}, trained on "
        f"{m.facts['n_tokens']:,} tokens (each counted as often as it was seen).\n"
        f"On its last training batch: FVU {last['fvu']:.3f}, {last['dead']} features dead."
    )


def _goal(m: Manifest, tuned: dict[str, Any]) -> str:
    """What was minimised beside the FVU; an objective of somebody's own has a name of its own."""
    name = m.config["finetuning"]["objective"]
    title = {"kl": "KL to the model's own predictions", "ce": "loss when spliced in"}.get(name, name)
    unit = " nats" if name in ("kl", "ce") else ""
    return f"{title} {tuned[name]:.3g}{unit}, " if name in tuned else ""


def _plan(console: Console, p: planning.Plan) -> None:
    r = p.recording
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    for name in ("", "time", "rate", "memory", "disk"):
        table.add_column(name, justify="left" if not name else "right")
    table.add_row(
        "record", _time(r.seconds), f"{r.tokens_per_s:,.0f} tokens/s", _size(r.memory_bytes), _size(r.disk_bytes)
    )
    table.add_row(
        "train", _time(p.train_seconds), f"{p.train_tokens_per_s:,.0f} tokens/s", _size(p.train_memory_bytes),
        _size(p.dictionary_bytes),
    )  # fmt: skip
    console.print(f"For {r.tokens:,} tokens, each trained on {p.epochs} time{'s' * (p.epochs != 1)}:")
    console.print(table)
    verdict = "It fits." if p.fits else "It does not fit: fewer features, a smaller batch or a smaller model would."
    console.print(f"Free memory: {_size(p.free_memory_bytes)}. {verdict}")


def _time(seconds: float) -> str:
    return (
        f"{seconds:.0f} s"
        if seconds < 120
        else f"{seconds / 60:.0f} min"
        if seconds < 7200
        else f"{seconds / 3600:.1f} h"
    )


def _size(n: float) -> str:
    return f"{n / 1e9:.1f} GB" if n >= 1e9 else f"{n / 1e6:.0f} MB"


def _summary(console: Console, s: Summary) -> None:
    console.print(
        Text.assemble(
            (f"{s.n_features:,} features", "bold"),
            f" of {s.model} at {s.site} ({s.architecture}, about {s.k:g} a token), read over {s.n_tokens:,} tokens of "
            f"{s.text}.",
        )
    )
    metrics = {name: estimate.model_dump() for name, estimate in s.metrics.items()}
    measured = f"Measured on text the dictionary never saw{COUNTED[s.counted_on]}:"
    console.print(measured if s.held_out else "Measured on text it may have been trained on:")
    _metrics(console, metrics, [b.model_dump() for b in s.baselines])


def _demo(console: Console, made: Made) -> None:
    atlas = Atlas.open(made.atlas)
    summary = atlas.summary()
    console.print()
    _summary(console, summary)
    brighter = "; brighter is stronger" if console.is_terminal else ""
    console.print(Text.assemble("\n", ("Five features to begin with", "bold"), f"  (what each fires on{brighter})"))
    for id in summary.striking[:STRIKING]:
        _feature(console, atlas[id])
    console.print(
        f"\nMade in {_time(made.seconds)}. Where to look next:\n"
        f"  physalis serve {made.atlas}     the atlas in a browser: search, map, every feature's examples\n"
        f"  physalis evaluate {made.dictionary} {made.activations} --out {made.evaluation} --json     all the numbers\n"
        f"  physalis record MODEL --site L9.resid_post --text FILES --out acts/     the same on your model and text",
        soft_wrap=True,
    )


def _feature(console: Console, feature: Feature) -> None:
    raises = ", ".join(repr(each.token) for each in feature.promoted[:4])
    about = f"fires on {feature.density:.2%} of tokens; raises {raises}"
    console.print(Text.assemble("\n", (str(feature.id), "bold"), f"  {feature.headline}   ", (about, "dim")))
    for example in feature.groups[0].examples[:2] if feature.groups else ():
        line, top = Text("    "), max(example.codes)
        for i in _around(example, console.width - 8):
            code = example.codes[i]
            shade = "" if code <= 0 else "bold black on bright_yellow" if code > 0.6 * top else "black on yellow"
            line.append(_visible(example.tokens[i]), style=shade)
        console.print(line, no_wrap=True, overflow="ellipsis")


def _visible(token: str) -> str:
    return re.sub(r"\s*\n\s*", "↵ ", plain(token))


def _around(example: Example, width: int) -> range:
    """Tokens around the firing that fit into ``width`` characters, two thirds of them before it."""
    first = last = example.position
    room = width - len(_visible(example.tokens[first]))
    before = 2 * room // 3
    while first > 0 and (n := len(_visible(example.tokens[first - 1]))) <= before:
        first, before, room = first - 1, before - n, room - n
    while last + 1 < len(example.tokens) and (n := len(_visible(example.tokens[last + 1]))) <= room:
        last, room = last + 1, room - n
    return range(first, last + 1)


def _sweep(console: Console, sweep: Sweep) -> None:
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("")
    first = sweep.points[0].architecture
    several = any(p.difference for p in sweep.points)
    for name in ("features", "k", "seed", "FVU", *([f"less {first}'s"] if several else []), "L0", "dead"):
        table.add_column(name, justify="right")
    for p in sweep.points:
        shape = (f"{p.n_features:,}", str(p.k), str(p.seed))
        fvu = ranged(p.fvu["value"], p.fvu["low"], p.fvu["high"])
        less = p.difference and ranged(p.difference["value"], p.difference["low"], p.difference["high"], "+.3f")
        beside = [less or ""] if several else []
        table.add_row(p.architecture, *shape, fvu, *beside, f"{p.l0['value']:.1f}", f"{p.dead_fraction['value']:.1%}")
    for each in sweep.baselines:
        fvu = ranged(each.fvu["value"], each.fvu["low"], each.fvu["high"])
        rest = [""] * (2 if several else 1)
        table.add_row("linear, of rank k", "", str(each.k), "", fvu, *rest, style="dim")
    console.print(table)
    console.print(f"The frontier is drawn in {sweep.picture}")
