"""Commands to be killed (kills.py): each with its words, in an order in which they make what they read."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Case:
    """A command in a folder: its words, and what is copied there before, as it writes beside that."""

    name: str
    words: str
    copies: tuple[str, ...] = ()
    share: float = 1.0
    """Of the kills that others get, for those that take long or write nothing."""
    code: int = 0


MAKE = (
    Case("record", "record tiny --site L1.resid_post --text {in}/text --tokens 12k --context 32 --out acts"),
    Case(
        "record, two sites",
        "record tiny --site L1.resid_post --site L0.mlp_out --text {in}/text --tokens 8k --context 32 --out acts",
    ),
    Case(
        "record, two workers",
        "record tiny --site L1.resid_post --text {in}/text --tokens 8k --context 32 --workers 2 --out acts",
        share=0.5,
    ),
    Case("train", "train {in}/acts --features 4x --k 4 --batch-size 512 --epochs 4 --out sae"),
    Case(
        "train, jumprelu",
        "train {in}/acts --dictionary jumprelu --features 4x --k 4 --epochs 1 --batch-size 512 --out sae",
    ),
    Case("evaluate", "evaluate {in}/sae {in}/acts --splice-tokens 320 --out eval"),
    Case("build-atlas", "build-atlas {in}/sae {in}/acts --evaluation {in}/eval --causes 4 --out atlas"),
    Case("sweep", "sweep {in}/acts --dictionary topk --dictionary l1 --k 4 --k 8 --batch-size 512 --out sweep"),
    Case("finetune", "finetune {in}/sae {in}/acts --tokens 2k --out tuned"),
    Case("demo", "demo --tokens 21k --no-serve --out demo", share=0.5),
    Case("convert --from", "convert {in}/for-saelens --activations {in}/acts --out sae"),
    Case("convert --to saelens", "convert {in}/sae --to saelens --out out"),
    Case("convert --to sparsify", "convert {in}/sae --to sparsify --out out"),
    Case("convert --to circuit-tracer", "convert {in}/transcoder --to circuit-tracer --out out"),
    Case("compare pair", "compare pair {in}/sae {in}/narrow {in}/acts --out both"),
    Case("compare tree", "compare tree {in}/narrow {in}/sae --activations {in}/acts --out tree"),
    Case("publish", "publish {in}/atlas --most 40 --out site"),
    Case("publish over another", "publish {in}/atlas --features 1-20 --out site", copies=("site",)),
    Case(
        "export neuronpedia", "export neuronpedia {in}/atlas --source-set res --creator Ada --features 0-40 --out out"
    ),
    Case("export saedashboard", "export saedashboard {in}/atlas --sae-set res --features 0-40 --out out"),
    Case("notes export", "notes export {in}/atlas notes"),
    Case("notes merge", "notes merge {in}/notes {in}/more --out notes"),
    Case("notes import", "notes import atlas {in}/more", copies=("atlas",)),
    Case("notes explanations", "notes explanations atlas {in}/explanations.jsonl", copies=("atlas",)),
    Case("comments invite", "comments invite atlas Ada Lovelace", copies=("atlas",)),
    Case("lab publish", "lab publish lab COMP-1", share=0.5),
)
READ = (
    Case("plan", "plan tiny --site L1.resid_post --tokens 20k --features 4x", share=0.25),
    Case("verify", "verify {in}/sae", share=0.25),
    Case("dose-response", "dose-response {in}/sae {in}/acts 3 --strength 10 --tokens 320", share=0.25),
    Case("steer", "steer {in}/sae alpha --edit add:3:2 --tokens 40", share=0.25),
    Case("dead-features", "dead-features {in}/sae {in}/acts --steps 20", share=0.25),
)
CASES = (*MAKE, *READ)
PREPARED = (
    "record tiny --site L1.resid_post --text text --tokens 12k --context 32 --out acts",
    "record tiny --site L0.mlp_in --site L0.mlp_out --text text --tokens 8k --context 32 --out both",
    "train both/L0.mlp_in --writes both/L0.mlp_out --dictionary jumprelu --features 4x --k 4 --out transcoder",
    "train acts --features 4x --k 4 --batch-size 512 --out sae",
    "train acts --features 2x --k 4 --batch-size 512 --out narrow",
    "evaluate sae acts --splice-tokens 320 --out eval",
    "build-atlas sae acts --evaluation eval --causes 4 --out atlas",
    "convert sae --to saelens --out for-saelens",
    "publish atlas --features 10-30 --out site",
)
