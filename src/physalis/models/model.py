"""model: Model.run, the only way into a model: reads and writes named sites of one forward pass.

1. Each site is a module and a side of it (``families``); a hook goes there for the length of one call.
2. A hook first lets ``write`` replace the tensor, then keeps it if ``read`` asks for it.
3. When the last site has been passed the hook raises, and the rest of the model is never computed.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property, partial
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from physalis.errors import BadInput
from physalis.models import tokens as tokens_
from physalis.models.families import Family
from physalis.site import LAYERED, Site

Write = Callable[[Tensor], Tensor]
"""Takes the tensor at a site, "contexts context width", and returns its replacement, of the same shape."""

COMPUTES = (
    "model_type", "num_attention_heads", "num_key_value_heads", "head_dim", "hidden_act", "hidden_activation",
    "activation_function", "rms_norm_eps", "layer_norm_eps", "layer_norm_epsilon", "layer_types", "sliding_window",
    "rope_parameters", "query_pre_attn_scalar", "attn_logit_softcapping", "final_logit_softcapping",
    "use_parallel_residual", "partial_rotary_factor", "rotary_pct",
)  # fmt: skip
"""The config's fields that decide what is computed beyond the parameters. Not all fields: those change from one
release of transformers to the next, and an upgrade must not turn a model into another one."""

ORDER = {
    name: i for i, name in enumerate(("resid_pre", "z", "attn_out", "resid_mid", "mlp_in", "mlp_out", "resid_post"))
}
"""The order in which a block reaches its sites."""


class _Passed(Exception):
    """Raised in the hook of the deepest site; ends the forward pass."""


class Model:
    """A frozen language model. Holds the Hugging Face module as it is; knows its sites by its Family."""

    def __init__(self, hf: nn.Module, tokenizer: tokens_.Tokenizer, *, name: str, family: Family) -> None:
        """Wrap a loaded module, which is put in evaluation mode and frozen. ``load_model`` is the usual way here.

        Raises BadInput if ``family`` names a module that ``hf`` does not have.
        """
        self.name = name
        self.hf = hf.eval().requires_grad_(False)
        self.tokenizer = tokenizer
        self.family = family
        self._config: Any = hf.config
        self._blocks = list(_module(hf, family.blocks, family).children())
        if not self._blocks:
            raise BadInput(f"{name} has no layers: nothing can be read in it. Give a model with at least one.")
        named: Any = hf  # the unembedding's attribute changes between releases; this method finds it in all of them
        self._unembed = named.get_output_embeddings()
        for path in filter(None, (family.attn_out, family.z, family.mlp_in, family.mlp_out, family.resid_mid)):
            _module(self._blocks[0], path, family)

    def __repr__(self) -> str:
        return f"Model({self.name!r}, {self.n_layers} layers, d_model {self.d_model}, {self.dtype} on {self.device})"

    @property
    def n_layers(self) -> int:
        return len(self._blocks)

    @property
    def d_model(self) -> int:
        return self._unembed.weight.shape[1]

    @property
    def vocab_size(self) -> int:
        return self._unembed.weight.shape[0]

    @property
    def device(self) -> torch.device:
        return self._unembed.weight.device

    @property
    def dtype(self) -> torch.dtype:
        return self._unembed.weight.dtype

    @property
    def bos_id(self) -> int | None:
        """The tokenizer's beginning-of-sequence token, or None if it has none."""
        return self.tokenizer.bos_token_id

    @cached_property
    def separator_id(self) -> int | None:
        """The token between documents: <|endoftext|> where the vocabulary has it, since pretraining used it, else the
        tokenizer's end-of-sequence token."""
        return self.tokenizer.get_vocab().get("<|endoftext|>", self.tokenizer.eos_token_id)

    @cached_property
    def known_ids(self) -> Bool[Tensor, " vocab"]:
        """Which of the ids that the model predicts are tokens of its tokenizer, on the model's device. Tables of
        embeddings are padded to round sizes; an id without a token means nothing, and is never shown, promoted or
        chosen."""
        ids = torch.tensor(sorted(set(self.tokenizer.get_vocab().values())), dtype=torch.long)
        known = torch.zeros(self.vocab_size, dtype=torch.bool)
        known[ids[(ids >= 0) & (ids < self.vocab_size)]] = True
        return known.to(self.device)

    @cached_property
    def fingerprint(self) -> str:
        """sha256 of the architecture and of every parameter's name, shape and a sample of its values. The same on every
        device and in every dtype that bfloat16 values survive."""
        h = hashlib.sha256()
        config = self._config.to_dict()
        h.update(json.dumps({k: config.get(k) for k in COMPUTES}, sort_keys=True, default=str).encode())
        for name, p in self.hf.named_parameters():
            flat = p.detach().reshape(-1)
            sample = flat[:: max(1, flat.numel() // 64)].to("cpu", torch.bfloat16).view(torch.int16)
            h.update(f"{name} {tuple(p.shape)}".encode() + sample.numpy().tobytes())
        return h.hexdigest()

    @cached_property
    def tokenizer_fingerprint(self) -> str:
        """sha256 that is equal exactly where token ids mean the same."""
        return tokens_.fingerprint(self.tokenizer)

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text, no special tokens added."""
        return tokens_.encode(self.tokenizer, texts)

    def token_strings(self, ids: Sequence[int]) -> list[str]:
        """Each token as a person would read it: leading spaces and newlines are themselves; bytes that are only part of
        a character are written ``\\xNN``."""
        return tokens_.strings(self.tokenizer, ids)

    def check(self, site: Site) -> None:
        """Raise BadInput if this model has no such site."""
        if site.layer is not None and site.layer >= self.n_layers:
            raise BadInput(
                f"{self.name} has {self.n_layers} layers, L0 to L{self.n_layers - 1}; received {site}. "
                f"Choose a layer in that range, for instance L{self.n_layers // 3}.{site.name}."
            )
        if site.name == "resid_mid" and self._parallel:
            raise BadInput(
                f"{self.name} has no resid_mid: in this architecture attention and MLP read the same stream side by "
                f"side. Received {site}; use resid_pre (what both read), attn_out, mlp_out or resid_post."
            )

    @property
    def _parallel(self) -> bool:
        flag = self.family.parallel_if
        return self.family.resid_mid is None or (flag is not None and getattr(self._config, flag))

    def width(self, site: Site) -> int:
        """The size of the last axis at a site."""
        self.check(site)
        if site.name == "logits":
            return self.vocab_size
        if site.name == "z":  # the heads need not span d_model; the projection's input says (Conv1D keeps it first)
            weight = self._blocks[0].get_submodule(self.family.z).weight
            return weight.numel() // self.d_model
        return self.d_model

    def run(
        self,
        tokens: Int[Tensor, "contexts context"],
        *,
        read: Iterable[Site] = (),
        write: Mapping[Site, Write] = {},
        past: Any = None,
    ) -> dict[Site, Tensor]:
        """One forward pass: the tensor at every site of ``read``, "contexts context width" in the model's dtype and on
        its device, after what ``write`` put there.

        The pass stops after the deepest site that is read or written; nothing of it is kept between calls, unless
        ``past`` is one of transformers' caches: then ``tokens`` go on from what it holds, and it grows. That takes a
        pass which reads the logits, for a layer that was not reached would keep nothing. Raises BadInput for a site
        that the model does not have.
        """
        with torch.no_grad():
            return self.run_with_gradients(tokens, read=read, write=write, past=past)

    def run_with_gradients(
        self,
        tokens: Int[Tensor, "contexts context"],
        *,
        read: Iterable[Site] = (),
        write: Mapping[Site, Write] = {},
        past: Any = None,
    ) -> dict[Site, Tensor]:
        """``run`` whose results can be differentiated with respect to what ``write`` put there: for training something
        outside the model against what it computes. The model itself stays frozen, and layers before the first tensor
        that asks for gradients keep nothing for them."""
        read = set(read)
        sites = sorted({*read, *write}, key=_depth)
        for site in sites:
            self.check(site)
        if not sites:
            return {}
        passing = _Pass(read, write, deepest=sites[-1])
        handles: list[RemovableHandle] = []
        try:
            for site in sites:
                if site.name != "logits":
                    handles.append(self._hook(passing, site))
            kept = {} if past is None else {"past_key_values": past}
            logits = self.hf(tokens.to(self.device), use_cache=past is not None, **kept).logits
            assert sites[-1].name == "logits", f"the forward pass never reached {sites[-1]}"
            passing.visit(sites[-1], logits)
        except _Passed:
            pass
        finally:
            for handle in handles:
                handle.remove()
        return passing.got

    def _hook(self, passing: "_Pass", site: Site) -> RemovableHandle:
        block = self._blocks[site.layer or 0]
        if site.name in ("embed", "resid_pre"):
            return block.register_forward_pre_hook(partial(passing.entering, site), with_kwargs=True)
        if site.name == "resid_post":
            return block.register_forward_hook(partial(passing.leaving, site))
        module = block.get_submodule(getattr(self.family, site.name))
        if site.name in ("z", "mlp_in"):
            return module.register_forward_pre_hook(partial(passing.entering, site), with_kwargs=True)
        if site.name == "resid_mid":
            return module.register_forward_pre_hook(partial(passing.entering_mid, site), with_kwargs=True)
        return module.register_forward_hook(partial(passing.leaving, site))

    def unembedding(self) -> Float[Tensor, "vocab d_model"]:
        """What a residual direction adds to each logit on the direct path, up to the final norm's scale: the
        unembedding with the norm's gain (and centring, where it is a LayerNorm) folded in, float32."""
        norm = _module(self.hf, self.family.final_norm, self.family)
        W = self._unembed.weight.detach().float() * (norm.weight.detach().float() + self.family.gain_offset)
        return W - W.mean(dim=1, keepdim=True) if isinstance(norm, nn.LayerNorm) else W


class _Pass:
    """One call of ``run``: what its hooks do. Each writes, then keeps, then ends the pass at the deepest site."""

    def __init__(self, read: set[Site], write: Mapping[Site, Write], *, deepest: Site) -> None:
        self.read = read
        self.write = write
        self.deepest = deepest
        self.got: dict[Site, Tensor] = {}

    def visit(self, site: Site, x: Tensor) -> Tensor:
        if site in self.write:
            x = _written(site, x, self.write[site])
        if site in self.read:
            self.got[site] = x
        if site == self.deepest and site.name != "logits":
            raise _Passed
        return x

    def entering(self, site: Site, _: nn.Module, args: tuple, kwargs: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
        if args:
            return (self.visit(site, args[0]), *args[1:]), kwargs
        return args, {**kwargs, "hidden_states": self.visit(site, kwargs["hidden_states"])}

    def entering_mid(self, site: Site, _: nn.Module, args: tuple, kwargs: dict[str, Any]) -> None:
        # The block holds this very tensor as its residual too: replacing the norm's argument alone would miss that.
        x = args[0] if args else kwargs["hidden_states"]
        new = self.visit(site, x)
        if new is not x:
            x.copy_(new)

    def leaving(self, site: Site, _: nn.Module, args: tuple, out: Any) -> Any:
        if isinstance(out, tuple):
            return (self.visit(site, out[0]), *out[1:])
        return self.visit(site, out)


def _depth(site: Site) -> tuple[float, int]:
    if site.layer is None:
        return (-1, 0) if site.name == "embed" else (float("inf"), 0)
    return site.layer, ORDER[site.name]


def _written(site: Site, x: Tensor, fn: Write) -> Tensor:
    new = fn(x.clone())  # its own copy: a function that works in place must not reach what was read elsewhere
    if not isinstance(new, Tensor) or new.shape != x.shape:
        got = tuple(new.shape) if isinstance(new, Tensor) else type(new).__name__
        raise BadInput(
            f"The function writing {site} must return a tensor of shape {tuple(x.shape)}; it returned {got}."
        )
    return new.to(x.device, x.dtype)


def _module(root: nn.Module, path: str, family: Family) -> Any:
    try:
        return root.get_submodule(path)
    except AttributeError as error:
        raise BadInput(
            f"The family for {'/'.join(family.model_types)} names a module {path!r} that {type(root).__name__} "
            f"does not have ({error}). print(model) shows the real names; give load_model a Family with them."
        ) from error


assert set(ORDER) == set(LAYERED)
