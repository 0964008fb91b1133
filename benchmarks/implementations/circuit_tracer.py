"""circuit-tracer 0.5.0 with its default backend, TransformerLens, in its own environment. Knows nothing of physalis.
See ``tracing.py``.

Its ``from_pretrained`` takes only names that TransformerLens lists, so the model is made of its config, which is the
other way that it documents, and the weights are put in. TransformerLens does not read the base of rotary positions in a
folder's config and takes 10,000: the model would be another one. It is set here, and logits are compared with those of
transformers.
"""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"

import torch
from circuit_tracer import ReplacementModel, attribute
from circuit_tracer.transcoder.single_layer_transcoder import load_transcoder_set
from implementations.tracing import Job, Traced, serve
from transformer_lens import loading_from_pretrained as loading
from transformers import AutoModelForCausalLM, AutoTokenizer

ANEW = 256
"""Nodes after which influence is taken anew: as many as in physalis, so that both choose the same nodes."""


def load(job: Job) -> ReplacementModel:
    """The model with its transcoders. Raises RuntimeError where it is not the model that transformers has."""
    model, theirs = str(Path(job.folder, "model")), Path(job.folder, "theirs")
    hf = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32, trust_remote_code=False)
    said = json.loads((theirs / "config.yaml").read_text())
    kept = {"device": torch.device("cpu"), "dtype": torch.float32, "lazy_encoder": False, "lazy_decoder": False}
    transcoders = load_transcoder_set(
        {i: str(theirs / f"layer_{i}.safetensors") for i in range(hf.config.num_hidden_layers)}, said["scan"],
        said["feature_input_hook"], said["feature_output_hook"], **kept,
    )  # fmt: skip
    cfg = loading.get_pretrained_model_config(model, device="cpu", dtype=torch.float32, fold_ln=False, n_ctx=512)
    cfg.rotary_base = hf.config.rope_theta
    made = ReplacementModel.from_config(
        cfg, transcoders, tokenizer=AutoTokenizer.from_pretrained(model, trust_remote_code=False)
    )
    state = loading.get_pretrained_state_dict(model, cfg, hf, dtype=torch.float32)
    renamed = {
        name.replace(".mlp.", ".mlp.old_mlp.").replace("unembed.", "unembed.old_unembed."): each
        for name, each in state.items()
    }
    given = made.load_state_dict(renamed, strict=False)
    if given.unexpected_keys:
        raise RuntimeError(f"weights that have no place: {given.unexpected_keys[:3]}")
    ids = torch.tensor([job.prompts[0]])
    with torch.no_grad():
        gap = float((made(ids) - hf(ids).logits).abs().max())
    if gap > 1e-3:
        raise RuntimeError(f"its logits are {gap:.3g} from those of transformers")
    return made


def main() -> None:
    job = Job(**json.loads(sys.argv[1]))
    torch.set_num_threads(job.threads)
    model = load(job)

    def theirs(prompt: int, nodes: int, batch: int) -> Callable[[], Traced]:
        graph = attribute(
            torch.tensor(job.prompts[prompt]), model, max_feature_nodes=nodes, batch_size=batch,
            update_interval=max(1, ANEW // batch),
        )  # fmt: skip

        def made() -> Traced:
            ends = len(graph.logit_targets)
            edges, chosen = graph.adjacency_matrix, graph.active_features[graph.selected_features]
            rows = torch.cat([edges[: len(chosen)], edges[-ends:]])[:, :-ends]
            active = graph.active_features
            return Traced(chosen, graph.logit_token_ids.clone(), graph.logit_probabilities, rows, active)

        return made

    serve(job, int(sys.argv[2]), theirs, "circuit-tracer", "transformer-lens", "transformers")


if __name__ == "__main__":
    main()
