"""The model that files name is compared with the one that was given, as far as names tell."""

import pytest

from physalis.exchange import Claims, names
from physalis.models.sources.packages import hub_name, own_name


def judged(claimed, given, *, hooks=(), **more):
    return names.compared(Claims(model=claimed, hooks=hooks), given, **more)


@pytest.mark.parametrize("claimed, given, outcome", [
    ("gpt2", "gpt2", "ok"),
    ("gpt2-small", "openai-community/gpt2", "ok"),
    ("HuggingFaceTB/SmolLM2-135M-Instruct", "smollm2", "ok"),
    ("smollm2-135m-instruct", "smollm2", "ok"),
    ("google/gemma-2-2b", "/models/gemma-2-2b", "ok"),
    ("EleutherAI/pythia-70m", "pythia-70m", "ok"),
    ("gpt2", "smollm2", "wrong"),
    ("google/gemma-2-2b", "smollm2", "wrong"),
    ("pythia-70m", "EleutherAI/pythia-70m-deduped", "wrong"),
    ("HuggingFaceTB/SmolLM2-135M", "smollm2", "unverifiable"),
    ("google/gemma-2-2b-it", "google/gemma-2-2b", "unverifiable"),
    ("llama-7b", "/models/mine", "unverifiable"),
    ("/somebody/checkpoints/final", "smollm2", "unverifiable"),
    (None, "smollm2", "unverifiable"),
    ("gpt2", None, "unverifiable"),
    ("gpt2", ["gpt2", "smollm2"], "unverifiable"),
])  # fmt: skip
def test_names(claimed, given, outcome):
    check = judged(claimed, given)
    assert check.outcome == outcome and check.name == "model", check.sentence


@pytest.mark.parametrize("claimed, kind, outcome", [
    ("gpt2-medium", "llama", "wrong"), ("google/gemma-3-1b-pt", "gemma3_text", "unverifiable"),
    ("google/gemma-2-2b", "gemma3_text", "wrong"), ("llama-7b", "llama", "unverifiable"),
    ("Qwen/Qwen2.5-7B", "llama", "wrong"), ("a-model-nobody-knows", "llama", "unverifiable"),
])  # fmt: skip
def test_where_only_a_folder_is_named_its_kind_can_contradict(claimed, kind, outcome):
    assert judged(claimed, "./models/mine", kind=kind).outcome == outcome


def test_a_layer_that_the_model_has_not():
    assert judged(None, "./mine", n_layers=12, hooks=("blocks.11.hook_resid_post",)).outcome == "unverifiable"
    deep = judged(None, "./mine", n_layers=12, hooks=("blocks.12.hook_resid_post",))
    assert deep.outcome == "wrong" and "layer 12; ./mine has L0 to L11" in deep.sentence


def test_names_on_the_hub_lead_back():
    assert own_name(hub_name("smollm2")) == "smollm2" and hub_name("gpt2") == own_name("gpt2") == "gpt2"
