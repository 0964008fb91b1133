"""Two calls that differ in any argument never share a result: every parameter of every verb that fills a folder is part
of the job, or is named here with the reason why it decides nothing."""

import contextlib
import json

import pytest
import torch
from taken import defaults

from physalis import artifact
from physalis.activations import Activations
from physalis.atlas.build.building import build_atlas
from physalis.codes import encode
from physalis.comparing.comparison import compare
from physalis.comparing.growing import grow
from physalis.dictionaries import TopKConfig
from physalis.errors import BadInput
from physalis.evaluation import evaluate
from physalis.exchange import convert
from physalis.exchange.formats.neuronpedia import Told, export_neuronpedia
from physalis.exchange.formats.saedashboard import export_saedashboard
from physalis.models.tiny import tiny_model
from physalis.recording import record, recorder
from physalis.site import Site
from physalis.sweeping.sweeping import sweep
from physalis.training.finetuning import ce, finetune
from physalis.training.training import train

DECIDES_NOTHING = {
    "out": "where it is written", "outs": "where it is written",
    "codes": "what would be encoded again; those of anything else are refused",
    "device": "numbers differ by rounding alone, as between kinds of processor",
    "workers": "the result is the same, byte for byte",
    "to": "other verbs: it writes files of other tools, which claim no folder",
    "format": "what the files are is found by looking at them; another format does not read them",
}  # fmt: skip


class Claimed(Exception):
    """Carries the job that a folder was to be filled by."""


@pytest.fixture
def job_of(monkeypatch):
    """The job with which a call claims its first folder, before anything is made; or why it is refused."""

    @contextlib.contextmanager
    def claim(folder, kind, job, **how):
        raise Claimed(json.dumps([kind, job], sort_keys=True, default=str))
        yield

    monkeypatch.setattr(artifact, "claim", claim)
    monkeypatch.setattr(recorder, "claim", claim)

    def found(verb, **arguments):
        with pytest.raises((Claimed, BadInput)) as said:
            verb(**arguments)
        return str(said.value)  # what is refused shares nothing

    return found


def other(value):
    """Another value of the same kind."""
    match value:
        case bool():
            return not value
        case int():
            return value + 1
        case float():
            return value / 2
        case str():
            return value + "-other"
        case tuple() if value:
            return value[:-1] or value * 2
    raise AssertionError(f"say another value than {value!r}")


@pytest.fixture
def cases(tiny, tiny_text, tiny_activations, tiny_dictionary, tiny_evaluation, tiny_atlas, widths, tmp_path):
    """For each verb: the arguments of a call, and other values of those whose defaults do not say any."""
    acts, d, text = tiny_activations, tiny_activations.d, tmp_path / "text.txt"
    text.write_text("another text, " * 400)
    more = [acts.folder.parent / "acts-of-another-seed", acts.folder.parent / "acts-of-another-site"]
    if not more[0].exists():
        usual = dict(tokens=12_000, context=32, shard_rows=2048)
        record(tiny, str(tiny_text), [Site("resid_post", 1)], [more[0]], **usual, seed=5)
        record(tiny, str(tiny_text), [Site("resid_post", 0)], [more[1]], **usual)
    again = Activations.open(more[0])
    config = TopKConfig(d_in=d, d_out=d, n_features=96, k=4)
    narrow, middle, wide = widths
    stranger = tiny_model(seed=1)
    out = tmp_path / "out"
    files = tmp_path / "files"
    convert(tiny_dictionary, files, to="saelens")
    other_files = tmp_path / "other files"
    convert(narrow, other_files, to="saelens")
    return {
        record: (
            dict(model=tiny, source=str(tiny_text), sites=[Site("resid_post", 1)], outs=[out], tokens=4000, context=32),
            dict(model=stranger, source=str(text), sites=[Site("resid_post", 0)], field="body"),
        ),
        train: (
            dict(source=acts, configs=[config], outs=[out], batch_size=512),
            dict(source=again, configs=[TopKConfig(d_in=d, d_out=d, n_features=96, k=5)], lr=0.01, warmup=9,
                 dead_after=1000, frozen="dec", seeds=[7], continue_from=[tiny_dictionary]),
        ),
        sweep: (
            dict(activations=acts, out=out, ks=(4,), batch_size=512),
            dict(activations=again, widths=[64], ks=(5,), settings={"aux_weight": 0.5}),
        ),
        finetune: (
            dict(dictionary=tiny_dictionary, source=acts, model=tiny, out=out),
            dict(dictionary=narrow, source=again, model=stranger, objective=ce),
        ),
        evaluate: (
            dict(dictionary=tiny_dictionary, activations=acts.folder, model=tiny, out=out),
            dict(dictionary=narrow, activations=again.folder, writes=more[1], model=stranger),
        ),
        encode: (
            dict(dictionary=tiny_dictionary, activations=acts.folder, out=out),
            dict(dictionary=narrow, activations=again.folder, writes=more[1]),
        ),
        build_atlas: (
            dict(dictionary=tiny_dictionary, activations=acts.folder, model=tiny, out=out),
            dict(dictionary=narrow, activations=again.folder, writes=more[1], model=stranger,
                 evaluation=tiny_evaluation),
        ),
        compare: (
            dict(a=narrow, b=middle, activations=acts.folder, out=out),
            dict(a=wide, b=wide, activations=again.folder, writes=more[1]),
        ),
        grow: (
            dict(dictionaries=(narrow, middle), activations=acts.folder, out=out),
            dict(dictionaries=(narrow, wide), activations=again.folder, writes=more[1]),
        ),
        convert: (
            dict(source=files, out=out, activations=acts, model=tiny),
            dict(source=other_files, activations=again, model=stranger, scale=0.5, sites=["L0.resid_post"],
                 sites_out=["L1.resid_post"]),
        ),
        export_neuronpedia: (
            dict(atlas=tiny_atlas, out=out, source_set="set", creator="me"),
            dict(release="r", model_id="m", features=[1, 2], creator_id="x", explanations=[
                Told(feature=tiny_atlas.list(limit=1).rows[0].id, description="d", method="m", model=None, notes="n")
            ]),
        ),
        export_saedashboard: (
            dict(atlas=tiny_atlas, out=out, sae_set="set"), dict(model_id="m", features=[1, 2])
        ),
    }  # fmt: skip


IMPLIED = {
    (export_neuronpedia, "atlas"): "its hash is among the inputs",
    (export_saedashboard, "atlas"): "its hash is among the inputs",
}
VERBS = [
    record, train, sweep, finetune, evaluate, encode, build_atlas, compare, grow, convert, export_neuronpedia,
    export_saedashboard,
]  # fmt: skip


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.__name__)
def test_whatever_is_asked_is_part_of_the_job(verb, cases, job_of):
    usual, others = cases[verb]
    wanted = job_of(verb, **usual)
    assert job_of(verb, **usual) == wanted
    shared = []
    for name, default in defaults(verb).items():
        if name in DECIDES_NOTHING or (verb, name) in IMPLIED:
            continue
        value = others[name] if name in others else other(usual.get(name, default))
        if job_of(verb, **{**usual, name: value}) == wanted:
            shared.append(name)
    assert not shared, f"{verb.__name__}: calls that differ in {', '.join(shared)} share a result"


def test_another_dtype_is_another_job(tiny_activations, tiny_dictionary, tmp_path, job_of):
    half = tiny_model()
    half.hf.to(dtype=torch.bfloat16)
    usual = dict(dictionary=tiny_dictionary, source=tiny_activations, out=tmp_path / "out")
    assert job_of(finetune, model=half, **usual) != job_of(finetune, model=tiny_model(), **usual)
