"""model: Model.run, the only way into a model: reads and writes named sites of one forward pass.

1. Each site is a module and a side of it (``families``); a hook goes there for the length of one call.
2. A hook first lets ``write`` replace the tensor, then keeps it if ``read`` asks for it.
3. When the last site has been passed the hook raises, and the rest of the model is never computed.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from functools import cached_property, partial
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from physalis.corpora.characters import alone, in_text
from physalis.errors import BadInput
from physalis.models.families import PLACES, Family
from physalis.models.hooks import ORDER, Pass, Passed, Write, depth, has_module
from physalis.models.sources.depth import check_layer
from physalis.models.text import tokens as tokens_
from physalis.runtime.cancellation import check_interrupted, is_interruptible
from physalis.site import Site


@runtime_checkable
class OfTokens(Protocol):
    """A Write that wants to know the tokens of a pass before what it writes of it."""

    def begin(self, tokens: Int[Tensor, "contexts context"]) -> None: ...
    def __call__(self, x: Tensor, /) -> Tensor: ...


COMPUTES = (
    "model_type", "num_attention_heads", "num_key_value_heads", "head_dim", "hidden_act", "hidden_activation",
    "activation_function", "rms_norm_eps", "layer_norm_eps", "layer_norm_epsilon", "layer_types", "sliding_window",
    "rope_parameters", "query_pre_attn_scalar", "attn_logit_softcapping", "final_logit_softcapping",
    "use_parallel_residual", "partial_rotary_factor", "rotary_pct",
)  # fmt: skip
"""The config's fields that decide what is computed beyond the parameters. Not all fields: those change from one
release of transformers to the next, and an upgrade must not turn a model into another one."""

POSITIONS = ("max_position_embeddings", "max_seq_len", "n_positions", "n_ctx", "context")
"""The config's fields that say how long an input may be, by whatever name the architecture has for it."""

COMPUTES_IN_SOME = (
    "alibi", "attention_multiplier", "attention_types", "embedding_multiplier", "full_attention_interval",
    "layers_block_type", "logit_scale", "logits_scaling", "new_decoder_architecture", "norm_topk_prob",
    "num_experts_per_tok", "parallel_attn", "residual_multiplier", "rotary_dim", "routed_scaling_factor",
    "scale_depth", "scale_emb", "top_k",
)  # fmt: skip
"""Likewise, of architectures that have them."""


EVERYWHERE = slice(None)
"""Every position of a context."""


class Model:
    """A frozen language model. Holds the Hugging Face module as it is; knows its sites by its Family."""

    def __init__(self, hf: nn.Module, tokenizer: tokens_.Tokenizer, *, name: str, family: Family) -> None:
        """Wrap a loaded module, which is put in evaluation mode and frozen. ``load_model`` is the usual way here.

        Raises BadInput if ``family`` names a module that ``hf`` does not have.
        """
        self.name = name
        self.trusts_code = False
        """Whether code that came with it was run: whoever loads it again by its name has to say so too."""
        self.hf = hf.eval().requires_grad_(False)
        self.tokenizer = tokenizer
        self.family = family
        self._config: Any = hf.config
        self._blocks = list(_module(hf, family.blocks, family).children())
        if not self._blocks:
            raise BadInput(f"{name} has no layers: nothing can be read in it. Give a model with at least one.")
        named: Any = hf  # the unembedding's attribute changes between releases; this method finds it in all of them
        self._unembed = named.get_output_embeddings()
        for name in PLACES:
            for path in family.paths(name):
                if not any(has_module(block, path) for block in self._blocks):
                    _module(self._blocks[0], path, family)

    def __repr__(self) -> str:
        return f"Model({self.name!r}, {self.n_layers} layers, d_model {self.d_model}, {self.dtype} on {self.device})"

    @property
    def n_layers(self) -> int:
        return len(self._blocks)

    @property
    def d_model(self) -> int:
        wide = getattr(self._config, "get_text_config", lambda: self._config)()  # an unembedding can be narrower
        return getattr(wide, "hidden_size", None) or self._unembed.weight.shape[1]

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
    def longest(self) -> int | None:
        """Tokens that one input may have: the positions that the model was made for, as its config names them; None
        where none are named (Bloom's and Mamba's kind)."""
        named = (getattr(self._text_config, name, None) for name in POSITIONS)
        return next((int(limit) for limit in named if limit), None)

    @property
    def _text_config(self) -> Any:
        return self._config.get_text_config() if hasattr(self._config, "get_text_config") else self._config

    def check_length(self, n_tokens: int, what: str, advice: str) -> None:
        """Raise BadInput, naming ``what`` is so long and what to do, where ``n_tokens`` are more than ``longest``."""
        if self.longest is not None and n_tokens > self.longest:
            raise BadInput(f"{what} has {n_tokens:,} tokens; {self.name} reads at most {self.longest:,}. {advice}")

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
        decides = {k: config.get(k) for k in COMPUTES} | {k: config[k] for k in COMPUTES_IN_SOME if k in config}
        h.update(json.dumps(decides, sort_keys=True, default=str).encode())
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

    @cached_property
    def ends(self) -> frozenset[int]:
        """Tokens after which a text is over: every end that the model's configuration names, the tokenizer's own, that
        of its chat template's turns, and the separator of documents."""
        of = [getattr(self.hf, "generation_config", None), self._config, self._text_config]
        named = [getattr(each, "eos_token_id", None) for each in (*of, self.tokenizer)]
        named += [self.separator_id, tokens_.turn_end(self.tokenizer)]
        flat = (i for each in named for i in (each if isinstance(each, list | tuple) else [each]))
        return frozenset(int(i) for i in flat if i is not None)

    @cached_property
    def pieces(self) -> tokens_.Pieces:
        """What token ids stand for: text, or the bytes of a part of a character. See ``characters``."""
        return tokens_.Pieces(self.tokenizer)

    def token_strings(self, ids: Sequence[int]) -> list[str]:
        """Each token alone as a person would read it: leading spaces and newlines are themselves; bytes that are only
        part of a character are written ``\\xNN``."""
        return [alone(token) for token in self.pieces(ids)]

    def text_strings(self, ids: Sequence[int]) -> list[str]:
        """Each token of a text, characters that tokens cut whole on the token that completes them: ``characters``."""
        return in_text(self.pieces(ids))

    def check(self, site: Site) -> None:
        """Raise BadInput if this model has no such site."""
        check_layer(self.name, self.n_layers, site)
        if site.name not in PLACES or self._place(site) is not None:
            return
        if site.name == "resid_mid" and self._parallel:
            raise BadInput(
                f"{self.name} has no resid_mid: in this architecture attention and MLP read the same stream side by "
                f"side. Received {site}; use resid_pre (what both read), attn_out, mlp_out or resid_post."
            )
        has = [str(other) for other in self.sites() if other.layer == site.layer]
        raise BadInput(
            f"{self.name} has no {site}: in this architecture no module of that layer is known to compute it alone. "
            f"Choose one of {', '.join(has)}."
        )

    def sites(self) -> list[Site]:
        """Every site that this model has, in the order in which a pass reaches them."""
        layered = [Site(name, layer) for layer in range(self.n_layers) for name in ORDER]
        kept = [site for site in layered if site.name not in PLACES or self._place(site) is not None]
        return [Site("embed"), *kept, Site("logits")]

    def _place(self, site: Site) -> nn.Module | None:
        """The module of its block at which a site is; None if the block has none."""
        assert site.layer is not None
        if site.name == "resid_mid" and self._parallel:
            return None
        block = self._blocks[site.layer]
        return next((block.get_submodule(p) for p in self.family.paths(site.name) if has_module(block, p)), None)

    @property
    def _parallel(self) -> bool:
        flag = self.family.parallel_if
        if flag is not None and getattr(self._config, flag):
            return True
        return self.family.resid_mid is None and None not in (self.family.attn_out, self.family.mlp_out)

    def width(self, site: Site) -> int:
        """The size of the last axis at a site."""
        self.check(site)
        if site.name == "logits":
            return self.vocab_size
        if site.name == "z":  # the heads need not span d_model; the projection's input says (Conv1D keeps it first)
            weight: Any = getattr(self._place(site), "weight", None)
            return weight.numel() // self.d_model
        return self.d_model

    def run(
        self,
        tokens: Int[Tensor, "contexts context"],
        *,
        read: Iterable[Site] = (),
        write: Mapping[Site, Write] = {},
        past: Any = None,
        logits_at: slice = EVERYWHERE,
    ) -> dict[Site, Tensor]:
        """One forward pass: the tensor at every site of ``read``, "contexts context width" in the model's dtype and on
        its device, after what ``write`` put there.

        The pass stops after the deepest site that is read or written; nothing of it is kept between calls, unless
        ``past`` is one of transformers' caches: then ``tokens`` go on from what it holds, and it grows. That takes a
        pass which reads the logits, for a layer that was not reached would keep nothing. Logits are computed at the
        positions ``logits_at`` alone, for those of a long text would need more memory than all else. Raises BadInput
        for a site that the model does not have; inside ``interruptible``, what ends the work.
        """
        with torch.no_grad():
            return self.run_with_gradients(tokens, read=read, write=write, past=past, logits_at=logits_at)

    def run_with_gradients(
        self,
        tokens: Int[Tensor, "contexts context"],
        *,
        read: Iterable[Site] = (),
        write: Mapping[Site, Write] = {},
        past: Any = None,
        logits_at: slice = EVERYWHERE,
    ) -> dict[Site, Tensor]:
        """``run`` whose results can be differentiated with respect to what ``write`` put there: for training something
        outside the model against what it computes. The model itself stays frozen, and layers before the first tensor
        that asks for gradients keep nothing for them."""
        read = set(read)
        sites = sorted({*read, *write}, key=depth)
        for site in sites:
            self.check(site)
        if not sites:
            return {}
        for each in write.values():
            if isinstance(each, OfTokens):
                each.begin(tokens)
        passing = Pass(read, write, deepest=sites[-1], shape=tokens.shape)
        handles: list[RemovableHandle] = []
        try:
            if is_interruptible():
                handles += [block.register_forward_pre_hook(_ask) for block in self._blocks]
            for site in sites:
                if site.name != "logits":
                    handles.append(self._hook(passing, site))
            if logits_at != EVERYWHERE:
                handles.append(self._unembed.register_forward_pre_hook(partial(_only, logits_at)))
            kept = {} if past is None else {"past_key_values": past}
            logits = self.hf(tokens.to(self.device), use_cache=past is not None, **kept).logits
            assert sites[-1].name == "logits", f"the forward pass never reached {sites[-1]}"
            passing.visit(sites[-1], logits)
        except Passed:
            pass
        finally:
            for handle in handles:
                handle.remove()
        return passing.got

    def _hook(self, passing: "Pass", site: Site) -> RemovableHandle:
        block = self._blocks[site.layer or 0]
        if site.name in ("embed", "resid_pre"):
            return block.register_forward_pre_hook(partial(passing.entering, site), with_kwargs=True)
        if site.name == "resid_post":
            return block.register_forward_hook(partial(passing.leaving, site))
        module = self._place(site)
        assert module is not None
        if site.name in ("z", "mlp_in"):
            return module.register_forward_pre_hook(partial(passing.entering, site), with_kwargs=True)
        if site.name == "resid_mid":
            return module.register_forward_pre_hook(partial(passing.entering_mid, site), with_kwargs=True)
        scale = {"attn_out": self.family.attn_scale, "mlp_out": self.family.mlp_scale}[site.name]
        return module.register_forward_hook(partial(passing.leaving, site, scale=scale))

    def unembedding(self) -> Float[Tensor, "vocab d_model"]:
        """What a residual direction adds to each logit on the direct path, up to the final norm's scale: the
        unembedding with the norm's gain (and centring, where it is a LayerNorm) folded in, float32.

        Raises BadInput for an architecture whose logits are not the unembedding of a normalised stream."""
        if self.family.final_norm is None:
            raise BadInput(
                f"{self.name} has no direct path from the residual stream to the logits: between its last block and "
                "its unembedding there is more than a norm. What a direction promotes cannot be said of this model."
            )
        norm = _module(self.hf, self.family.final_norm, self.family)
        gain, centred = _gain(norm, self.d_model, self.device)
        W = self._unembed.weight.detach().float() * (gain * self.family.logit_scale)
        return W - W.mean(dim=1, keepdim=True) * centred


@torch.no_grad()
def _gain(norm: nn.Module, width: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """What a norm multiplies each coordinate with, and 1 where it takes the mean away, else 0, float32.

    Found by calling it: some multiply by their weight, some by 1 + weight, some have none."""
    norm = deepcopy(norm).float()
    x = torch.linspace(64, 128, width, device=device)
    x[1::2] *= -1
    ones = torch.ones_like(x)
    plus, minus, up, down = norm(torch.stack([x, -x, ones, -ones])[None])[0]
    odd = (plus - minus) / 2  # without the bias
    centred = ((up - down).abs().max() < 1e-3 * odd.abs().max()).float()
    x = x - x.mean() * centred
    return odd / (x / x.pow(2).mean().sqrt()), centred


def _ask(*_: Any) -> None:
    check_interrupted()


def _only(positions: slice, _: nn.Module, args: tuple) -> tuple:
    """What the unembedding is to read: the stream at some positions, "contexts context width"."""
    x, *others = args
    return x[:, positions], *others


def _module(root: nn.Module, path: str, family: Family) -> Any:
    try:
        return root.get_submodule(path)
    except AttributeError as error:
        raise BadInput(
            f"The family for {'/'.join(family.model_types)} names a module {path!r} that {type(root).__name__} "
            f"does not have ({error}). print(model) shows the real names; give load_model a Family with them."
        ) from error
