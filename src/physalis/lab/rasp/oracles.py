"""oracles: oracle, the dictionary of an MLP whose features are known: each of its neurons, and what it stands for."""

from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor

from physalis.dictionaries import JumpReLU, JumpReLUConfig
from physalis.errors import BadInput
from physalis.lab.rasp.compiling import Compiled
from physalis.lab.rasp.neurons import Neuron
from physalis.lab.rasp.transformer import blocks

_LEAST = 2
"""Features of a dictionary: where an MLP has fewer, the rest are silent."""


class Oracle(NamedTuple):
    """A transcoder: ``ReLU(mlp_in @ W_enc.T + b_enc) @ W_dec + b_dec`` is what the MLP adds to the stream."""

    W_enc: Float[Tensor, "features d"]
    b_enc: Float[Tensor, " features"]
    W_dec: Float[Tensor, "features d"]
    b_dec: Float[Tensor, " d"]
    neurons: tuple[Neuron, ...]
    """What each feature is: of which variable it computes a part, and when it fires."""

    def dictionary(self) -> JumpReLU:
        """The same as a dictionary of ``mlp_in`` that writes ``mlp_out``. Rows are as long as the neurons'."""
        n, d = self.W_enc.shape
        made = JumpReLU(JumpReLUConfig(d_in=d, d_out=d, n_features=max(n, _LEAST), k=1)).requires_grad_(False)
        made.enc[:n], made.b_enc[:n], made.dec[:n], made.b_dec[:] = self.W_enc, self.b_enc, self.W_dec, self.b_dec
        made.enc.refresh()
        made.dec.refresh()
        return made


def oracle(compiled: Compiled, layer: int) -> Oracle:
    """The features of a layer's MLP, none where it computes nothing. Raises BadInput for a layer that is none."""
    if not 0 <= layer < compiled.model.n_layers:
        raise BadInput(f"The model has layers 0 to {compiled.model.n_layers - 1}; received layer {layer}.")
    known = compiled.neurons[layer]
    first, _, last = blocks(compiled.model.hf)[layer].mlp
    n = len(known)
    return Oracle(
        first.weight[:n].clone(), first.bias[:n].clone(), last.weight[:, :n].T.clone(), last.bias.clone(), known
    )
