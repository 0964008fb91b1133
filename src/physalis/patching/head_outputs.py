"""head_outputs: what each head adds to the residual stream: its part of ``z`` through the output projection.

Where a norm stands after attention (Gemma) a head's share is what the norm makes of it with the scale of all of them
together, so that shares sum to what attention adds, but for biases.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from physalis.errors import BadInput
from physalis.models import Model
from physalis.models.sites.norms import Norm
from physalis.models.sites.places import module_of, path_of
from physalis.patching.nodes import heads


class HeadOutputs:
    """Of one layer. Callable on ``z``."""

    def __init__(self, model: Model, layer: int) -> None:
        """Raises BadInput for a layer whose attention is not a projection of ``z`` with at most a norm after it."""
        block = list(module_of(model.hf, model.family.blocks, model.family).children())[layer]
        self.nodes = heads(model, layer)
        paths = [path_of(model.family, block, name) for name in ("z", "attn_post_norm_scale")]
        assert paths[0] is not None, "heads() has looked"
        self.projection: nn.Module = block.get_submodule(paths[0])
        self.scale, self.norm = model.family.attn_scale, None
        if paths[1] is not None:
            self.norm = Norm.of(block.get_submodule(paths[1]), model.d_model, model.device)
            if self.norm is None:
                raise BadInput(
                    f"What {model.name} does to attention's output at layer {layer} is no norm that is known, so no "
                    "head's share of it can be said."
                )

    @torch.no_grad()
    def __call__(self, z: Float[Tensor, "contexts context width"]) -> Float[Tensor, "heads contexts context d_model"]:
        """Each head's share of ``attn_out``, float32."""
        project = self.projection.forward  # without hooks: this may be called inside a pass
        bias, whole = project(torch.zeros_like(z[:1, :1])), project(z)
        scale = None if self.norm is None else self.norm.scale(whole)
        shares = []
        for node in self.nodes:
            alone = torch.zeros_like(z)
            alone[..., node.span] = z[..., node.span]
            share = (project(alone) - bias).float()
            if self.norm is not None and scale is not None:
                share = self.norm.divided(share, scale) - self.norm.bias
            shares.append(share * self.scale)
        return torch.stack(shares)
