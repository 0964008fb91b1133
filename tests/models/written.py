"""Small real tokenizers of two kinds that cut characters, and small real models of them."""

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from physalis.models import Model, family_of

TEXT = "日本 🌱 Привет, naïve"
TURNS = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'system' %}{{ raise_exception('No system role') }}"
    "{% endif %}<turn>{{ m['role'] }}\n{{ m['content'] }}<end>\n{% endfor %}"
    "{% if add_generation_prompt %}<turn>model\n{% endif %}"
)


def byte_level(bos: str | None = "<s>", template: str | None = None) -> transformers.PreTrainedTokenizerFast:
    """GPT-2's kind."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), show_progress=False,
        special_tokens=[each for each in (bos, "</s>", "<turn>", "<end>") if each],
    )  # fmt: skip
    made.train_from_iterator(["the cat and the hat 🌱🌱 日 日"] * 9, trainer)
    named = {"bos_token": bos} if bos else {}
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, eos_token="</s>", chat_template=template, **named
    )  # fmt: skip


def sentencepiece() -> transformers.PreTrainedTokenizerFast:
    """Llama 2's kind: what it has no piece for is bytes."""
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{i:02X}>" for i in range(256)), "▁", "t", "h", "e", "日", "th", "▁th"]
    merges = [("t", "h"), ("▁", "th")]
    vocabulary = {each: i for i, each in enumerate(pieces)}
    made = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    made.normalizer = normalizers.Replace(" ", "▁")
    made.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    return transformers.PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<s>", eos_token="</s>")


def model_of(tokenizer, *, spare: int = 0, longest: int = 64, ends: list[int] | None = None) -> Model:
    """A Llama of two layers, its table of embeddings ``spare`` rows longer than the vocabulary."""
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=len(tokenizer) + spare, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
        num_attention_heads=4, max_position_embeddings=longest, bos_token_id=None, eos_token_id=None,
        pad_token_id=None,
    )  # fmt: skip
    hf = transformers.AutoModelForCausalLM.from_config(config)
    if ends is not None:
        assert hf.generation_config is not None
        hf.generation_config.eos_token_id = ends
    return Model(hf, tokenizer, name="small", family=family_of("llama"))
