"""compiling: compile_program, a transformer that computes what a program says, and all that is known of it.

(Lindner et al. 2023, Tracr, arXiv 2301.05062.) Each s-op has coordinates of its own in the residual stream, written by
one component and by no other: ``plan`` says which, ``heads`` and ``neurons`` with which weights. Components add to what
is there, and nothing is normalised, so that what each computes can be read off exactly. An input begins with a token of
its own, at which heads look where they select nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from physalis.errors import BadInput
from physalis.lab.rasp.domains import Domains
from physalis.lab.rasp.heads import Head, make_head
from physalis.lab.rasp.language import SOp, Value
from physalis.lab.rasp.language import indices as INDICES
from physalis.lab.rasp.language import tokens as TOKENS
from physalis.lab.rasp.neurons import Neuron, make_neurons
from physalis.lab.rasp.plan import AT_FIRST, Plan
from physalis.lab.rasp.spelling import BOS, Spelling
from physalis.lab.rasp.transformer import CAUSAL, FAMILY, FULL, CompiledConfig, blocks, empty_transformer
from physalis.lab.rasp.wiring import EMBED, LOGITS, Wiring, head_name, mlp_name
from physalis.models import Model
from physalis.models.tiny import Tiny
from physalis.site import Site

SURE = 10.0
"""The logit of the answer; those of all others are 0."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Compiled:
    """A model that was made of a program, and the truth about it."""

    model: Model
    program: SOp
    vocabulary: tuple[str, ...]
    """What inputs are made of. The model's own has the answers besides, and what inputs begin with."""
    context: int
    """The longest input, in tokens."""
    causal: bool
    """Whether no position sees a later one."""
    wiring: Wiring
    """All that is computed."""
    neurons: tuple[tuple[Neuron, ...], ...]
    """Those in use, by layer: the first of its MLP."""
    basis: Float[Tensor, "d d"]
    """The direction of the stream in which each coordinate of a ``place`` stands."""

    @property
    def circuit(self) -> Wiring:
        """What the answer is computed from: the true circuit."""
        return self.wiring.behind_output()

    @property
    def components(self) -> tuple[str, ...]:
        """Every component of the model, those that compute nothing among them."""
        inside = [
            name
            for layer, block in enumerate(blocks(self.model.hf))
            for name in (*(head_name(layer, head) for head in range(block.attn.n_heads)), mlp_name(layer))
        ]
        return EMBED, *inside, LOGITS

    def directions(self, variable: str) -> Float[Tensor, "dims d"]:
        """The directions along which a variable stands, a value each, or one for a number: at right angles and of
        length 1. Raises BadInput for a name that none has."""
        return self.basis[list(self.wiring[variable].place)]

    def encode(self, inputs: Sequence[Sequence[str]]) -> Int[Tensor, "inputs context"]:
        """Token ids of inputs of one length, with what they begin with. Raises BadInput for inputs of several lengths,
        for one that is empty or longer than ``context``, and for a token that the program does not read."""
        lengths = sorted({len(each) for each in inputs})
        if len(lengths) != 1 or not 0 < lengths[0] <= self.context:
            raise BadInput(
                f"Inputs of one pass are of one length, 1 to {self.context} tokens; received lengths {lengths}. "
                "Give those of a length together, or a program compiled for a longer context."
            )
        unknown = next((token for each in inputs for token in each if token not in self.vocabulary), None)
        if unknown is not None:
            raise BadInput(f"The program reads {', '.join(self.vocabulary)}; received the token {unknown!r}.")
        spelling = self.model.tokenizer
        return torch.tensor([[spelling.bos_token_id, *map(spelling.id_of, each)] for each in inputs])

    def answers(self, inputs: Sequence[Sequence[str]]) -> list[tuple[Value, ...]]:
        """What the model says at each token of inputs of any lengths: the likeliest, which a compiled program's
        ``evaluate`` is to agree with. A token that is no answer is given as it is written. Raises BadInput likewise."""
        said: list[tuple[Value, ...]] = [()] * len(inputs)
        spelled = {str(value): value for value in self.wiring[self.wiring.output].values}
        words = self.model.tokenizer.words
        for length in {len(each) for each in inputs}:
            which = [i for i, each in enumerate(inputs) if len(each) == length]
            tokens = self.encode([inputs[i] for i in which])
            likeliest = self.model.run(tokens, read=[Site("logits")])[Site("logits")][:, 1:].argmax(-1)
            for i, ids in zip(which, likeliest.tolist(), strict=True):
                said[i] = tuple(spelled.get(words[id], words[id]) for id in ids)
        return said


def compile_program(
    program: SOp, *, vocabulary: Sequence[str], context: int, causal: bool = True, beside: Sequence[SOp] = (),
) -> Compiled:  # fmt: skip
    """A model whose likeliest token at each position is what the program answers there, for inputs of up to ``context``
    tokens of ``vocabulary``. Programs ``beside`` it are computed too and written where nothing of the circuit reads
    them: components that work, and that a method is not to find.

    Raises BadInput for a program that cannot be compiled: of numbers, of too many values, of functions that end in
    errors, or of numbers too near each other; and for a vocabulary or a context that is none."""
    _check(program, vocabulary, context)
    plan = Plan([program, *beside], Domains(vocabulary, context))
    words = _words(program, plan)
    heads = {sop: make_head(sop, plan) for layer in plan.heads for sop in layer}
    neurons = {sop: make_neurons(sop, plan) for layer in plan.maps for sop in layer}
    in_use = tuple(tuple(each for sop in layer for each in neurons[sop]) for layer in plan.maps)
    config = CompiledConfig(
        n_layers=len(plan.heads),
        d_model=plan.d,
        n_heads=max(1, *map(len, plan.heads)),
        d_head=max([1, *(max(len(head.query), len(head.value)) for head in heads.values())]),
        d_mlp=max(1, *map(len, in_use)),
        vocab_size=len(words) + 1,
        context=context + 1,
        layer_types=(CAUSAL if causal else FULL,) * len(plan.heads),
    )
    module = empty_transformer(config)
    _write_ends(module, program, words, plan)
    for block, own_heads, own_neurons in zip(blocks(module), plan.heads, in_use, strict=True):
        for i, sop in enumerate(own_heads):
            _write_head(block.attn, i, heads[sop])
        for i, neuron in enumerate(own_neurons):
            _write_neuron(block.mlp, i, neuron)
    read: dict[SOp, dict[str, set[int]]] = {sop: head.read() for sop, head in heads.items()}
    read |= {sop: {"in": {at for each in own for at in each.reads}} for sop, own in neurons.items()}
    return Compiled(
        model=Model(module, Spelling(words), name=plan.variables[program].name, family=FAMILY),
        program=program,
        vocabulary=tuple(vocabulary),
        context=context,
        causal=causal,
        wiring=plan.wiring(program, read),
        neurons=in_use,
        basis=torch.eye(plan.d),
    )


def _check(program: SOp, vocabulary: Sequence[str], context: int) -> None:
    if program.is_numeric:
        raise BadInput(
            f"A model answers with tokens, and {program.name!r} is a number. Make categories of it with elementwise."
        )
    if not vocabulary or len(set(vocabulary)) < len(vocabulary) or BOS in vocabulary:
        raise BadInput(f"A vocabulary is one token or more, each once, and none is {BOS}; received {list(vocabulary)}.")
    if torn := [token for token in vocabulary if token.split() != [token]]:
        raise BadInput(f"Tokens are written between spaces, and {torn[0]!r} has one or is empty. Write it otherwise.")
    if context < 1:
        raise BadInput(f"A context is 1 token or more; received {context}.")


def _words(program: SOp, plan: Plan) -> list[str]:
    """What the model can say, those that it reads first. An answer is the token that is written as it is."""
    values = plan.domains.of(program)
    answers = [str(value) for value in values]
    if len(set(answers)) < len(answers) or BOS in answers or any(each.split() != [each] for each in answers):
        raise BadInput(
            f"Answers are told apart by how they are written, in one word each, and none is {BOS}; those of "
            f"{program.name!r} are {list(values)[:40]}. Let it return others."
        )
    return [*dict.fromkeys([*plan.domains.vocabulary, *answers])]


def _write_ends(module: Tiny, program: SOp, words: list[str], plan: Plan) -> None:
    module.embed.weight[-1, AT_FIRST] = 1.0
    if (read := plan.variables.get(TOKENS)) is not None:
        for i, coordinate in enumerate(read.place):
            module.embed.weight[i, coordinate] = 1.0
    if (read := plan.variables.get(INDICES)) is not None:
        for i, coordinate in enumerate(read.place):
            module.positions.weight[i + 1, coordinate] = 1.0
    said = plan.variables[program]
    for value, coordinate in zip(said.values, said.place, strict=True):
        module.unembed.weight[words.index(str(value)), coordinate] = SURE


def _write_head(attention: Any, at: int, head: Head) -> None:
    qkv, out = attention.qkv, attention.out
    width = out.in_features
    d_head = width // attention.n_heads
    scale = d_head**0.5  # by what attention divides scores
    for part, rows in enumerate((head.query * scale, head.key, head.value)):
        start = part * width + at * d_head
        qkv.weight[start : start + len(rows)] = rows
    for part, bias in enumerate((head.query_bias * scale, head.key_bias)):
        start = part * width + at * d_head
        qkv.bias[start : start + len(bias)] = bias
    out.weight[:, at * d_head : at * d_head + len(head.out)] = head.out.T


def _write_neuron(mlp: Any, at: int, neuron: Neuron) -> None:
    first, _, last = mlp
    first.bias[at] = neuron.bias
    for coordinate, weight in neuron.reads.items():
        first.weight[at, coordinate] = weight
    for coordinate, weight in neuron.writes.items():
        last.weight[coordinate, at] = weight
