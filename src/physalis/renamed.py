"""renamed: modules by the names that they had in 0.1. They import under those for one version, with a warning, and
their classes with them."""

import warnings
from importlib import import_module
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

ROOMS = {
    "cli.learning": "atlases demo demo_process exchanging explaining recording training",
    "cli.reading": "comparing searching serving steering verifying",
    "cli.sharing": "comments notes publishing",
    "cli.shown.features": "contrasts dead_features explained steered",
    "cli.shown.lab": "checks counterexamples findings",
    "comparing.similarity": "chance codes counts directions matching parents",
    "explanations.language": "fields leaves rules scanning surroundings vocabulary",
    "lab.counterexamples.dictionaries": "absorption circle faithfulness reconstruction structure",
    "lab.counterexamples.interventions": "ablations alignment circuits patching",
    "lab.counterexamples.readings": "attention examples probes saturation",
    "lab.counterexamples.superposition": "compression interference memorization neurons",
    "lab.experiments.attention": "bigrams induction smearing trigrams",
    "lab.experiments.mechanisms": "codes faithfulness interference",
    "lab.experiments.memorization": "decay descents grokking mislabelled polygons repeats",
    "lab.experiments.toy_models":
        "absolute bases correlation dynamics geometry perturbation phases superposition triples vulnerability",
    "lab.toys.superposition": "bottlenecks expected models phases wide",
    "lab.toys.transformers": "addition attention paths phrases repeats",
    "models.sites": "attention blocks norms places structure verification",
}  # fmt: skip
"""Rooms whose modules stood beside them by the same names: ``lab.toys.paths`` is ``lab.toys.transformers.paths``."""

MODULES = {f"{room.rpartition('.')[0]}.{name}": f"{room}.{name}" for room in ROOMS for name in ROOMS[room].split()}
MODULES |= {
    "activations.corpus": "activations.positions",
    "adam": "training.adam", "atlas.ablation": "atlas.interventions.ablation", "atlas.building": "atlas.build.building",
    "atlas.causes": "atlas.interventions.causes", "atlas.counting": "atlas.build.counting",
    "atlas.effects": "atlas.build.effects", "atlas.examples": "atlas.build.examples",
    "atlas.firings": "codes.segments", "atlas.glimpses": "atlas.build.preview",
    "atlas.layout": "atlas.build.layout", "atlas.leaving": "atlas.interventions.occlusion",
    "atlas.opened": "atlas.reader", "atlas.pages": "atlas.feature_pages", "atlas.profiles": "atlas.build.profiles",
    "atlas.rows": "atlas.build.rows", "atlas.store": "atlas.schema", "atlas.strata": "atlas.interventions.strata",
    "atlas.subject": "atlas.interventions.attached", "atlas.tables": "atlas.snapshot", "atlas.watch": "atlas.reopening",
    "atlas.wording": "atlas.headlines", "atlas.words": "atlas.search_index", "atlas.worth": "atlas.evidence",
    "bounded": "artifact.untrusted", "characters": "corpora.characters", "checkpoints": "training.checkpoints",
    "cli.amounts": "cli.arguments.amounts", "cli.autopsies": "cli.shown.features.dead_features",
    "cli.checks": "cli.shown.lab.checks", "cli.comparisons": "cli.shown.comparisons",
    "cli.console": "cli.shown.console",
    "cli.counterexamples": "cli.shown.lab.counterexamples", "cli.early": "cli.arguments.early",
    "cli.findings": "cli.shown.lab.findings", "cli.help": "cli.arguments.help", "cli.hints": "cli.shown.hints",
    "cli.inspections": "cli.shown.models", "cli.jobs": "cli.shown.jobs", "cli.making": "cli.learning.demo_process",
    "cli.options": "cli.arguments.options", "cli.printing": "cli.shown.printing",
    "cli.sentences": "cli.arguments.sentences", "cli.settings": "cli.arguments.settings",
    "cli.sources": "cli.arguments.sources", "cli.stated": "cli.arguments.defaults",
    "cli.steered": "cli.shown.features.steered",
    "cli.usage": "cli.arguments.usage", "cli.verdicts": "cli.shown.verdicts", "comments": "people.comments",
    "comments.refusals": "people.refusals",
    "comparing.fired": "comparing.similarity.codes", "comparing.lineage": "comparing.growing",
    "comparing.opened": "comparing.reader", "comparing.subjects": "comparing.compared", "deaths": "dead_features",
    "device": "runtime.device", "dictionaries.asked": "dictionaries.l0_control",
    "dictionaries.batchtopk": "dictionaries.architectures.batchtopk",
    "dictionaries.bounds": "dictionaries.kernels.bounds",
    "dictionaries.candidate_kernels": "dictionaries.kernels.candidate_kernels",
    "dictionaries.candidates": "dictionaries.kernels.candidates",
    "dictionaries.crosscoder": "dictionaries.architectures.crosscoder",
    "dictionaries.crosslayer": "dictionaries.architectures.crosslayer",
    "dictionaries.gated": "dictionaries.architectures.gated",
    "dictionaries.jumprelu": "dictionaries.architectures.jumprelu", "dictionaries.l1": "dictionaries.architectures.l1",
    "dictionaries.l1resampled": "dictionaries.architectures.l1resampled",
    "dictionaries.listamatryoshka": "dictionaries.architectures.listamatryoshka",
    "dictionaries.matchingpursuit": "dictionaries.architectures.matchingpursuit",
    "dictionaries.matryoshka": "dictionaries.architectures.matryoshka",
    "dictionaries.rows": "dictionaries.kernels.rows", "dictionaries.topk": "dictionaries.architectures.topk",
    "dictionaries.triton_kernels": "dictionaries.kernels.gpu", "encoding": "placement.encoding",
    "evaluation.rebuilding": "evaluation.reconstruction", "exchange.circuit_tracer": "exchange.formats.circuit_tracer",
    "exchange.crosscoders": "exchange.formats.crosscoders",
    "exchange.dictionary_learning": "exchange.formats.dictionary_learning", "exchange.gemma": "exchange.formats.gemma",
    "exchange.llamascope": "exchange.formats.llamascope", "exchange.openai": "exchange.formats.openai",
    "exchange.plain": "exchange.formats.plain", "exchange.saelens": "exchange.formats.saelens",
    "exchange.sparsify": "exchange.formats.sparsify", "finding": "search", "finetuning": "training.finetuning",
    "folder": "artifact.folder", "frontier": "sweeping.frontier", "history": "training.history",
    "interruption": "runtime.cancellation", "models.corpus": "corpora.sources", "models.formats": "corpora.formats",
    "models.hub": "corpora.hub", "models.loading": "models.sources.loading",
    "models.packages": "models.sources.packages", "models.packing": "models.text.packing",
    "models.parts": "models.sites.blocks", "models.passing": "models.hooks",
    "models.prompting": "models.text.prompting",
    "models.screening": "models.sources.screening", "models.tokens": "models.text.tokens",
    "models.trail": "corpora.trail", "models.unpacked": "models.sources.gguf", "notes": "people.notes",
    "people.comments.refusals": "people.refusals",
    "objectives": "training.objectives", "origin": "placement.origin", "place": "placement.place",
    "planning": "training.planning", "progress": "runtime.progress", "recording.live": "recording.streaming",
    "recording.sampling": "recording.held_out", "recording.text": "recording.contexts",
    "steering.doses": "steering.dose_curves", "stopping": "runtime.signals", "web.addresses": "web.guard.addresses",
    "web.answers": "web.server.answers", "web.app": "web.atlas.app", "web.bibliography": "web.articles.bibliography",
    "web.checks": "web.guard.checks", "web.comments": "web.people.comments", "web.compared": "web.comparison.records",
    "web.comparing": "web.comparison.serving", "web.connections": "web.guard.connections",
    "web.events": "web.server.events", "web.families": "web.atlas.families", "web.heads": "web.articles.heads",
    "web.hosts": "web.guard.hosts", "web.index": "web.atlas.index", "web.journal": "web.guard.journal",
    "web.live": "web.atlas.live", "web.markdown": "web.articles.markdown", "web.metrics": "web.atlas.histograms",
    "web.neuronpedia": "exchange.formats.neuronpedia", "web.notebook": "web.notebooks.widgets",
    "web.notes": "web.people.notes", "web.numbers": "web.server.numbers", "web.packing": "web.server.packing",
    "web.passages": "web.articles.passages", "web.pictures": "web.articles.pictures",
    "web.places": "web.guard.admission", "web.proxies": "web.guard.proxies", "web.publishing": "web.lab.publishing",
    "web.question": "web.atlas.query", "web.rates": "web.guard.rates", "web.records": "web.atlas.records",
    "web.refusals": "web.server.refusals", "web.relay": "web.worker.relay",
    "web.saedashboard": "exchange.formats.saedashboard", "web.serving": "web.server.serving",
    "web.shelf": "web.articles.shelf", "web.shell": "web.server.shell", "web.site": "web.publish.site",
    "web.steering": "web.atlas.steering", "web.tried": "web.atlas.try_records", "web.trying": "web.atlas.trying",
    "web.turns": "web.worker.model_lock", "web.watched": "web.watch.run", "web.watching": "web.watch.app",
    "web.working": "web.worker.service", "web.written": "web.publish.written",
}  # fmt: skip
"""Old names to new ones, both below ``physalis``. What is below a package that is named here has moved with it."""

CLASSES = {
    "activations.positions": {"Corpus": "Positions"}, "atlas.evidence": {"Worth": "Evidence"},
    "atlas.build.preview": {"Glimpse": "Preview"}, "atlas.interventions.attached": {"Subject": "Attached"},
    "atlas.reader": {"Opened": "AtlasReader"}, "atlas.snapshot": {"Tables": "Snapshot"},
    "codes.segments": {"Firings": "Segments"}, "comparing.similarity.codes": {"Fired": "SparseCodes"},
    "comparing.compared": {"Subject": "ComparedDictionary"},
    "dead_features": {
        "Death": "DeadFeature", "Deaths": "DeadFeatures", "explain_deaths": "explain_dead_features",
    },
    "dead_features.records": {"Death": "DeadFeature", "Deaths": "DeadFeatures"},
    "dictionaries.l0_control": {"Asked": "L0Control"},
    "people.notes": {"NotThere": "Missing", "NotYours": "NotAllowed"},
    "web.articles.shelf": {"Shelf": "ServedArticles"},
    "web.guard.admission": {"Places": "Admission"}, "web.guard.connections": {"Crowd": "OpenConnections"},
    "web.worker.model_lock": {"Turns": "ModelLock"},
}  # fmt: skip
"""By the module's name of today: what its classes were called. Where a module comes under its old name, so do they."""


def now(name: str) -> str | None:
    """What a module such as ``physalis.finding.contrast`` is called now, if it had that name once."""
    package, _, inside = name.partition(".")
    parts = inside.split(".")
    for n in range(len(parts), 0, -1):
        found = MODULES.get(".".join(parts[:n])) if package == "physalis" else None
        if found is not None:
            return ".".join(["physalis", found, *parts[n:]])
    return None


class _Load:
    def __init__(self, name: str) -> None:
        self.name = name

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        self.found = import_module(self.name)
        self.spec = self.found.__spec__
        for old, new in CLASSES.get(self.name.removeprefix("physalis."), {}).items():
            setattr(self.found, old, getattr(self.found, new))
        return self.found

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self.spec  # the machinery has written the old name's over it


class Finder:
    """Asked first: a package under its old name would else be looked into for more."""

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> ModuleSpec | None:
        name = now(fullname)
        if name is None:
            return None
        warnings.warn(f"{fullname} is called {name} now.", FutureWarning, stacklevel=2)
        load: Any = _Load(name)  # no importlib.abc.Loader by name: that takes 9 ms to import
        return ModuleSpec(fullname, load, is_package=True)
