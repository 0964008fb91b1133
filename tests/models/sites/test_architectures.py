"""Architectures that no row of the table describes: what is found in them, tried against transformers' own states."""

from dataclasses import replace

import pytest
import torch
import transformers
from architectures import ALL, BEGIN, PAGE, Ids, build, judge, table

from physalis.errors import BadInput
from physalis.models import FAMILIES, Family, Model
from physalis.models.sites.structure import find_family, probe
from physalis.models.sites.verification import faults, open_model
from physalis.site import LAYERED, Site

TABLE = {t for family in FAMILIES for t in family.model_types}
SAMPLE = {
    "olmo2": "all",  # a norm behind attention and MLP, none before
    "glm4": "all",  # norms before and behind
    "granite": "all",  # what is added is multiplied by a number
    "cohere": "all",  # attention and MLP side by side, logits multiplied by a number
    "falcon": "all",  # likewise; adds in place
    "mixtral": "all",  # experts
    "gpt_oss": "all",  # experts, sinks
    "opt": "all",  # no module is the MLP
    "bloom": "all",  # attention adds to the stream itself
    "qwen3_next": "all",  # blocks of two kinds
    "jamba": "some",  # attention or a state space: no z
    "mamba": "some",  # one part to a block
    "bart": "stream",  # a norm after each addition
}


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.mark.parametrize("model_type", SAMPLE)
def test_sites_are_found_without_a_row(model_type: str) -> None:
    assert model_type not in TABLE
    assert judge(model_type).opens == SAMPLE[model_type]


@pytest.mark.slow
def test_every_architecture_that_opens_is_right() -> None:
    judged = [judge(model_type) for model_type in ALL]  # raises for one whose sites are wrong
    opens = [j for j in judged if j.opens in ("all", "some", "stream")]
    assert len(opens) >= 60
    assert sum(j.opens == "all" for j in judged) >= 60
    written = PAGE.read_text().split(BEGIN)[1]
    if f"transformers {transformers.__version__}," in written:  # another release has other architectures
        assert table(judged) in written


@pytest.mark.parametrize("model_type", ["llama", "gpt2", "gemma2", "gemma3_text", "gpt_neox", "phi", "phi3"])
def test_what_is_found_is_what_the_table_says(model_type: str) -> None:
    hf = build(model_type)
    found = find_family(hf, probe(Ids(), 160))
    row = next(family for family in FAMILIES if model_type in family.model_types)
    parallel = row.parallel_if is not None and getattr(hf.config, row.parallel_if)
    said = replace(row, model_types=found.model_types, parallel_if=None, **({"resid_mid": None} if parallel else {}))
    assert found == said


def test_numbers_in_the_way_are_found() -> None:
    family = open_model(build("granite"), Ids(), name="granite").family
    assert (family.attn_scale, family.mlp_scale, family.logit_scale) == (0.22, 0.22, 0.125)


def test_sites_are_found_in_16_bits_too() -> None:
    for model_type in ("olmo2", "granite", "falcon"):
        wide = open_model(build(model_type), Ids(), name="x").family
        narrow = open_model(build(model_type).to(torch.bfloat16), Ids(), name="x").family
        assert narrow == wide


def test_what_is_multiplied_is_written_as_it_counts() -> None:
    model = open_model(build("granite"), Ids(), name="granite")
    tokens = torch.arange(20, 30)[None]
    at, mid, pre = (Site(name, 1) for name in ("attn_out", "resid_mid", "resid_pre"))
    new = torch.randn(1, 10, 32)
    got = model.run(tokens, read=[at, mid, pre], write={at: lambda x: new})
    assert torch.equal(got[at], new)
    torch.testing.assert_close(got[mid], got[pre] + new)


WRONG = {
    "attn_out": "input_layernorm",
    "mlp_out": "mlp.up_proj",
    "z": "self_attn.v_proj",
    "mlp_in": "self_attn",
    "resid_mid": "input_layernorm",
}


@pytest.mark.parametrize("place", WRONG)
def test_a_family_that_names_the_wrong_module_is_refused(place: str) -> None:
    hf = build("stablelm")
    right = find_family(hf, probe(Ids(), 160))
    with pytest.raises(
        BadInput, match=r"'stablelm' .* not what its Family says: at L\d.*from physalis.models import F"
    ):
        open_model(hf, Ids(), name="x", family=replace(right, **{place: WRONG[place]}))
    assert open_model(hf, Ids(), name="x", family=right).family == right


def test_a_wrong_multiplier_is_refused() -> None:
    hf = build("granite")
    right = find_family(hf, probe(Ids(), 160))
    with pytest.raises(BadInput, match="not what its Family says: at L0.attn_out"):
        open_model(hf, Ids(), name="x", family=replace(right, attn_scale=1.0))


def test_a_model_that_reads_in_both_directions_is_refused() -> None:
    hf = build("bert")
    hf.config.is_decoder = False
    for module in hf.modules():
        if hasattr(module, "is_decoder"):
            module.is_decoder = False
        if hasattr(module, "is_causal"):
            module.is_causal = False
    with pytest.raises(BadInput, match="reads in both directions"):
        open_model(hf, Ids(), name="x")


def test_a_site_that_is_not_there_is_named_with_those_that_are() -> None:
    model = open_model(build("mamba"), Ids(), name="mamba-tiny")
    with pytest.raises(BadInput, match=r"mamba-tiny has no L1.z: .* L1.resid_pre, L1.attn_norm_scale, L1.attn_out, L"):
        model.run(torch.arange(20, 30)[None], read=[Site("z", 1)])
    stream = open_model(build("bart"), Ids(), name="bart-tiny")
    with pytest.raises(BadInput, match="bart-tiny has no direct path from the residual stream to the logits"):
        stream.unembedding()


def test_blocks_of_two_kinds_have_their_own_sites() -> None:
    model = open_model(build("nemotron_h"), Ids(), name="x")
    sites = [each.site for each in model.sites() if each.site.name in LAYERED]
    kinds = {tuple(site.name for site in sites if site.layer == i) for i in range(model.n_layers)}
    assert ("resid_pre", "z", "attn_out", "resid_post") in kinds and len(kinds) > 1
    assert not faults(model, probe(Ids(), 160))


def test_hidden_states_are_those_that_passed_whatever_adds_to_them_later() -> None:
    # Falcon adds what attention returned to the tensor that its MLP returned.
    model = open_model(build("falcon"), Ids(), name="x")
    site = Site("mlp_out", 0)
    kept = torch.ones(1, 10, 32)
    got = model.run(torch.arange(20, 30)[None], read=[site, Site("logits")], write={site: lambda x: kept})
    assert torch.equal(got[site], torch.ones(1, 10, 32)) and torch.equal(kept, torch.ones(1, 10, 32))


def test_a_family_is_a_value_that_goes_to_workers() -> None:
    hf = build("qwen3_next")
    family = find_family(hf, probe(Ids(), 160))
    again = Model(hf, Ids(), name="x", family=Family(**{f: getattr(family, f) for f in Family.__slots__}))
    assert again.sites() == Model(hf, Ids(), name="x", family=family).sites()
