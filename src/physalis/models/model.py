"""model: Model.run, the only way into a model: reads and writes named sites of one forward pass.

1. Each site is a module and a side of it (``families``); a hook goes there for the length of one call.
2. A hook first lets ``write`` replace the tensor, then keeps it if ``read`` asks for it.
3. When the last site has been passed the hook raises, and the rest of the model is never computed.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property, partial
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from physalis.corpora.characters import Piece, alone, in_text
from physalis.corpora.corpus import Corpus
from physalis.errors import BadInput
from physalis.models.families import PARTS, PLACES, Family
from physalis.models.freezing import NOTHING, Frozen
from physalis.models.hooks import (
    OfTokens,
    Pass,
    Passed,
    Write,
    depth,
    has_module,
    interrupting,
    only,
)  # fmt: skip
from physalis.models.identity import fingerprint
from physalis.models.sites.attention import ATTENTION, WITH_KEYS
from physalis.models.sites.norms import gain_of
from physalis.models.sites.placed import Handle, Placed
from physalis.models.sites.places import ModelSite, listed, module_of
from physalis.models.text.corpus import Text
from physalis.models.text.tokens import Tokenizer
from physalis.runtime.cancellation import is_interruptible
from physalis.site import INNER, Site

POSITIONS = ("max_position_embeddings", "max_seq_len", "n_positions", "n_ctx", "context")
"""The config's fields that say how long an input may be, by whatever name the architecture has for it."""

EVERYWHERE = slice(None)
"""Every position of a context."""


class Model:
    """A frozen model. Holds the Hugging Face module as it is, knows its sites by its Family, and what it reads."""

    def __init__(self, hf: nn.Module, corpus: Corpus | Tokenizer, *, name: str, family: Family) -> None:
        """Wrap a loaded module, which is put in evaluation mode and frozen. ``load_model`` is the usual way here.
        ``corpus`` is what it reads; a tokenizer stands for texts.

        Raises BadInput if ``family`` names a module that ``hf`` does not have.
        """
        self.name = name
        self.trusts_code = False
        """Whether code that came with it was run: whoever loads it again by its name has to say so too."""
        self.hf = hf.eval().requires_grad_(False)
        self.corpus = corpus if isinstance(corpus, Corpus) else Text(corpus)
        self.family = family
        self._config: Any = hf.config
        self._blocks = list(module_of(hf, family.blocks, family).children())
        if not self._blocks:
            raise BadInput(f"{name} has no layers: nothing can be read in it. Give a model with at least one.")
        named: Any = hf  # the unembedding's attribute changes between releases; this method finds it in all of them
        self._unembed = named.get_output_embeddings()
        for name in (*PLACES, *PARTS):
            for path in family.paths(name):
                if not any(has_module(block, path) for block in self._blocks):
                    module_of(self._blocks[0], path, family)
        self._placed = Placed(self.hf, self._blocks, self._unembed, family, name=self.name, d_model=self.d_model)

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
    def tokenizer(self) -> Any:
        """Of a model that reads text; None for another."""
        return getattr(self.corpus, "tokenizer", None)

    @property
    def bos_id(self) -> int | None:
        """The corpus's beginning-of-sequence token, or None if it has none."""
        return self.corpus.bos_id

    @property
    def separator_id(self) -> int | None:
        """The token between documents, or None where nothing stands there."""
        return self.corpus.separator_id

    @cached_property
    def known_ids(self) -> Bool[Tensor, " vocab"]:
        """Which of the ids that the model predicts are its corpus's, on the model's device. Tables of embeddings are
        padded to round sizes; an id without a token means nothing, and is never shown, promoted or chosen."""
        ids = torch.tensor(sorted(self.corpus.ids), dtype=torch.long)
        known = torch.zeros(self.vocab_size, dtype=torch.bool)
        known[ids[(ids >= 0) & (ids < self.vocab_size)]] = True
        return known.to(self.device)

    @cached_property
    def fingerprint(self) -> str:
        """sha256 of the architecture and of every parameter's name, shape and a sample of its values. The same on every
        device and in every dtype that bfloat16 values survive."""
        return fingerprint(self.hf)

    @property
    def tokenizer_fingerprint(self) -> str:
        """sha256 that is equal exactly where token ids mean the same."""
        return self.corpus.fingerprint

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text, no special tokens added. Raises BadInput for a model that reads no text."""
        return self.corpus.typed(texts)

    @cached_property
    def ends(self) -> frozenset[int]:
        """Tokens after which a text is over: every end that the model's configuration names, and its corpus's."""
        of = [getattr(self.hf, "generation_config", None), self._config, self._text_config]
        named = [*(getattr(each, "eos_token_id", None) for each in of), *self.corpus.ends]
        flat = (i for each in named for i in (each if isinstance(each, list | tuple) else [each]))
        return frozenset(int(i) for i in flat if i is not None)

    def pieces(self, ids: Sequence[int], /) -> list[Piece]:
        """What token ids stand for: text, or the bytes of a part of a character. See ``characters``."""
        return self.corpus.pieces(ids)

    def token_strings(self, ids: Sequence[int]) -> list[str]:
        """Each token alone as a person would read it: leading spaces and newlines are themselves; bytes that are only
        part of a character are written ``\\xNN``."""
        return [alone(token) for token in self.pieces(ids)]

    def text_strings(self, ids: Sequence[int]) -> list[str]:
        """Each token of a text, characters that tokens cut whole on the token that completes them: ``characters``."""
        return in_text(self.pieces(ids))

    def check(self, site: Site) -> None:
        """Raise BadInput if this model has no such site."""
        self._placed.check(site)

    def sites(self) -> tuple[ModelSite, ...]:
        """Every site that this model has, in the order in which a pass reaches them, with its width and what it feeds.

        To know the widths inside attention and MLP, a first call computes one token."""
        sites = list(self._placed)
        widths = {site: self._width(site) for site in sites if site.name != "attn_pattern"}
        return tuple(listed(sites, widths, self._placed.modules, parallel=self._placed.parallel))

    def width(self, site: Site) -> int:
        """The size of the last axis at a site. Raises BadInput for a site that this model does not have, and for one
        that has no row for each position: attention patterns."""
        self.check(site)
        if site.name == "attn_pattern":
            raise BadInput(
                f"{site} has no width: it is a weight for each head, query and key, and not one row a position. "
                "Model.run reads it; to record, steer or explain, choose a site with rows, such as "
                f"L{site.layer}.z (what the heads mix with these weights) or L{site.layer}.q."
            )
        return self._width(site)

    def _width(self, site: Site) -> int:
        if site.name == "logits":
            return self.vocab_size
        if site.name == "z":  # the heads need not span d_model; the projection's input says (Conv1D keeps it first)
            weight: Any = getattr(self._placed.at(site), "weight", None)
            return weight.numel() // self.d_model
        if site.name.endswith("norm_scale"):
            return 1
        return self._inner_widths[site] if site.name in INNER else self.d_model

    @cached_property
    def _inner_widths(self) -> dict[Site, int]:
        """Those that no weight says: they are looked up in a pass of one token."""
        token = torch.zeros(1, 1, dtype=torch.long, device=self.device)
        inside = [site for site in self._placed.modules if site.name in (*ATTENTION[:3], "mlp_gate", "mlp_neurons")]
        return {site: x.shape[-1] for site, x in self.run(token, read=inside).items()}

    def run(
        self,
        tokens: Int[Tensor, "contexts context"],
        *,
        read: Iterable[Site] = (),
        write: Mapping[Site, Write] = {},
        freeze: Frozen = NOTHING,
        past: Any = None,
        logits_at: slice = EVERYWHERE,
    ) -> dict[Site, Tensor]:
        """One forward pass: the tensor at every site of ``read``, "contexts context width" in the model's dtype and on
        its device (scales in float32, patterns "contexts heads query key"), after what ``write`` put there or
        ``freeze`` holds there: a value of ``freeze``, constant also where the pass is differentiated.

        The pass stops after the deepest site that is read or written; nothing of it is kept between calls, unless
        ``past`` is one of transformers' caches: then ``tokens`` go on from what it holds, and it grows. That takes a
        pass which reads the logits, for a layer that was not reached would keep nothing. Logits are computed at the
        positions ``logits_at`` alone, for those of a long text would need more memory than all else. Raises BadInput
        for a site that the model does not have; inside ``interruptible``, what ends the work.
        """
        with torch.no_grad():
            return self.run_with_gradients(
                tokens, read=read, write=write, freeze=freeze, past=past, logits_at=logits_at
            )

    def run_with_gradients(
        self,
        tokens: Int[Tensor, "contexts context"],
        *,
        read: Iterable[Site] = (),
        write: Mapping[Site, Write] = {},
        freeze: Frozen = NOTHING,
        past: Any = None,
        logits_at: slice = EVERYWHERE,
    ) -> dict[Site, Tensor]:
        """``run`` whose results can be differentiated with respect to what ``write`` put there: for training something
        outside the model against what it computes. The model itself stays frozen, and layers before the first tensor
        that asks for gradients keep nothing for them."""
        read, write = set(read), freeze.beside(write)
        sites = sorted({*read, *write}, key=depth)
        for site in sites:
            self.check(site)
        if not sites:
            return {}
        if past is not None and (kept_by := [site for site in sites if site.name in WITH_KEYS]):
            raise BadInput(
                f"{kept_by[0]} is not read or written in a pass that goes on from earlier ones: their keys and values "
                "are kept as they were. Leave past out and give all tokens again, or choose another site."
            )
        for each in write.values():
            if isinstance(each, OfTokens):
                each.begin(tokens)
        passing = Pass(read, write, until=sites, shape=tokens.shape)
        handles: list[Handle] = []
        try:
            if is_interruptible():
                handles += [block.register_forward_pre_hook(interrupting) for block in self._blocks]
            handles += self._placed.hooks(passing, sites)
            if logits_at != EVERYWHERE:
                handles.append(self._unembed.register_forward_pre_hook(partial(only, logits_at)))
            kept = {} if past is None else {"past_key_values": past}
            logits = self.hf(tokens.to(self.device), use_cache=past is not None, **kept).logits
            if Site("logits") in passing.left:
                passing.visit(Site("logits"), logits)
            if passing.left:
                never = ", ".join(sorted(map(str, passing.left)))
                raise BadInput(f"A forward pass of {self.name} never reached {never}: leave that out.")
        except Passed:
            pass
        finally:
            for handle in handles:
                handle.remove()
        return passing.got

    def freeze(self, tokens: Int[Tensor, "contexts context"], sites: Iterable[Site] | None = None) -> Frozen:
        """What a pass over ``tokens`` gives at ``sites``, to be held constant by others: if none are named, everywhere
        what norms divide by and where heads look, which leaves nothing but the MLPs that is not linear in the stream.

        Raises BadInput for a site that the model does not have."""
        if sites is None:
            sites = [site for site in self._placed if site.name == "attn_pattern" or site.name.endswith("norm_scale")]
        return Frozen(self.run(tokens, read=sites))

    def attention_scale(self, layer: int) -> float:
        """What a head's query times key is multiplied with before the softmax: as its module says, or one by the root
        of its width. Raises BadInput for a layer whose queries cannot be read."""
        site = Site("q", layer)
        self.check(site)
        own = getattr(self._placed.at(site), "scaling", None)
        heads = self.run(torch.zeros(1, 1, dtype=torch.long), read=[Site("attn_pattern", layer)])
        width = self.width(site) // next(iter(heads.values())).shape[1]
        return float(own) if isinstance(own, float | int) else width**-0.5

    def unembedding(self) -> Float[Tensor, "vocab d_model"]:
        """What a residual direction adds to each logit on the direct path, up to the final norm's scale: the
        unembedding with the norm's gain (and centring, where it is a LayerNorm) folded in, float32.

        Raises BadInput for an architecture whose logits are not the unembedding of a normalised stream."""
        if self.family.final_norm is None:
            raise BadInput(
                f"{self.name} has no direct path from the residual stream to the logits: between its last block and "
                "its unembedding there is more than a norm. What a direction promotes cannot be said of this model."
            )
        norm = module_of(self.hf, self.family.final_norm, self.family)
        gain, centred = gain_of(norm, self.d_model, self.device)
        W = self._unembed.weight.detach().float() * (gain * self.family.logit_scale)
        return W - W.mean(dim=1, keepdim=True) * centred
