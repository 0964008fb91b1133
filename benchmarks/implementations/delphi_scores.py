"""delphi's side of detection.py: its own windows, samples, prompts and scorers, with a client that answers by a rule.

    python -m implementations.delphi_scores FOLDER

reads ``text.npz`` and ``asked.json`` there and writes ``scores.json``. The client knows of each passage what the rule
says of its tokens, and finds the passages in the prompt that delphi wrote. vLLM, which delphi imports for a client that
is not used here, is only pretended.
"""

import asyncio
import json
import logging
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import torch

from physalis.explanations import Fields, Rule, Surroundings
from physalis.models import load_model

PRETENDED = ("vllm", "vllm.distributed", "vllm.distributed.parallel_state", "vllm.inputs")
NAMES = ("LLM", "SamplingParams", "destroy_distributed_environment", "destroy_model_parallel", "TokensPrompt")


def pretend() -> None:
    """Modules of which delphi wants a few names, and calls none."""
    for name in PRETENDED:
        module: Any = types.ModuleType(name)
        for each in NAMES:
            setattr(module, each, object)
        sys.modules[name] = module


class PerToken:
    """A tokenizer whose ``batch_decode`` of a row of ids is a string each, as delphi expects: in transformers 5 it is
    one string of all of them."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tokenizer, name)

    def batch_decode(self, ids: Any) -> list[str]:
        return [self._tokenizer.decode([int(i)]) for i in ids]


def main() -> None:
    folder = Path(sys.argv[1])
    pretend()
    logging.disable(logging.CRITICAL)
    from delphi.clients.client import Client, Response
    from delphi.config import ConstructorConfig, SamplerConfig
    from delphi.latents import Latent, LatentRecord, constructor, sampler
    from delphi.latents.latents import ActivationData
    from delphi.scorers import DetectionScorer, OpenAISimulator

    asked = json.loads((folder / "asked.json").read_text())
    arrays, fields, model = np.load(folder / "text.npz"), Fields.load(folder / "fields.npy"), load_model("smollm2")
    pieces = model.corpus.pieces(range(max(model.corpus.ids) + 1))
    tokens = torch.from_numpy(arrays["tokens"].astype(np.int64))
    length, tokenizer = asked["length"], PerToken(model.tokenizer)

    class Canned(Client):
        """Answers by what the rule predicts on each passage alone."""

        def __init__(self, rule: Rule, record: Any) -> None:
            super().__init__("canned")
            self.tokenizer = tokenizer
            examples = [*record.test, *record.not_active]
            text = Surroundings(np.stack([each.tokens.numpy() for each in examples]), pieces, fields)
            codes = rule.predict(text).reshape(len(examples), -1)
            self.codes = {tuple(each.str_tokens): row for each, row in zip(examples, codes, strict=True)}
            self.fires = {"".join(key): bool((row > 0).any()) for key, row in self.codes.items()}

        async def generate(self, prompt: Any, **options: Any) -> Response:
            if "prompt_logprobs" in options:  # never read where there is no second token in a tab: see detection.py
                return Response("", prompt_logprobs=[])
            last = prompt[-1]["content"]
            if last.startswith("{"):
                return Response(self.simulated(json.loads(last)))
            body = last.split("Text examples:\n\n", 1)[1].removesuffix("\n")
            (passage,) = [body.removeprefix("Example 0: ")]
            return Response(f"[{int(self.fires[passage])}]")

        def simulated(self, wanted: dict) -> str:
            row = self.codes[tuple(each["token"] for each in wanted["activations"])]
            most = max((float(each.max()) for each in self.codes.values()), default=0.0) or 1.0
            said = [
                {"token": each["token"], "activation": round(10 * float(code) / most)}
                for each, code in zip(wanted["activations"], row, strict=True)
            ]
            return json.dumps({"activations": said})

    found = []
    sampling = SamplerConfig(n_examples_test=asked["examples"], n_examples_train=10, n_quantiles=10)
    building = ConstructorConfig(
        example_ctx_len=length, min_examples=asked["least"], n_non_activating=asked["examples"], center_examples=True
    )
    for feature, line in asked["rules"].items():
        at, values = (torch.from_numpy(arrays[f"{name}-{feature}"]) for name in ("at", "values"))
        places = torch.stack([at // tokens.shape[1], at % tokens.shape[1], torch.zeros_like(at)], 1)
        record = LatentRecord(Latent("L9", int(feature)))
        built = constructor(record, ActivationData(places, values), building, tokens, tokenizer)
        if built is None or not built.not_active:
            continue
        built.explanation = Rule.parse(line).in_words()
        built = sampler(built, sampling, tokenizer)
        client = Canned(Rule.parse(line), built)
        row: dict[str, Any] = {"feature": int(feature)}
        for name, scorer in (
            ("detection", DetectionScorer(client)),
            ("simulation", OpenAISimulator(client, tokenizer, all_at_once=False)),
            ("simulation_logprobs", OpenAISimulator(client, tokenizer)),
        ):
            result = asyncio.run(scorer(built)).score
            row[name] = accuracy(result) if name == "detection" else correlation(result)
        row["unanswered"] = sum(
            1 for each in asyncio.run(DetectionScorer(client)(built)).score if each.prediction is None
        )
        found.append(row)
    (folder / "scores.json").write_text(json.dumps(found))


def accuracy(outputs: list) -> float:
    """Mean of the shares of right answers, as its result_analysis has it."""
    right = [[each.correct for each in outputs if each.activating is side] for side in (True, False)]
    return float(np.mean([np.mean(side) for side in right]))


def correlation(aggregates: list) -> Any:
    """Of all sequences together: a number, or the word that it writes for none."""
    return next(each.ev_correlation_score for each in aggregates if each.distance == 0)


if __name__ == "__main__":
    main()
