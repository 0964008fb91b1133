"""encode(): the codes of a dictionary on every token of a recording, written once for all that read them afterwards."""

import shutil
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import accumulate
from pathlib import Path

import numpy as np
import torch

from physalis import artifact, dictionaries
from physalis.activations import Stored
from physalis.artifact import Manifest
from physalis.codes.segments import SEGMENT, Coded, Segments, arrays_of, group, is_whole, name_of, write_segment
from physalis.codes.stored import KIND, StoredCodes
from physalis.dictionaries import Dictionary
from physalis.errors import BadInput
from physalis.metrics import Reconstruction, fvu
from physalis.placement.encoding import CHUNK, encoded
from physalis.placement.origin import Recordings, recorded
from physalis.runtime.device import chosen
from physalis.runtime.jobs import Job, Write, run
from physalis.runtime.progress import Advance
from physalis.types import Codes

MEASURED = 1 << 16
"""Rows rebuilt to measure fvu, at most: the held-out ones, or where none are held out all, every so many of them.
Rebuilding all would cost as much as encoding. A shard's rows are in random order, so these are a fair sample."""


def encode(
    dictionary: Path | str,
    activations: Recordings,
    *,
    out: Path | str,
    writes: Recordings | None = None,
    device: torch.device | str | None = None,
) -> StoredCodes:
    """Write the codes of the dictionary in a folder on every token of a recording, by token and by feature; opened.

    ``activations`` are of what the dictionary reads, several folders where it reads several sites; ``writes`` of what a
    transcoder predicts, and those recorded with the activations and beside them are found. It is encoded on ``device``,
    the best that there is unless given. On disk a code takes 8 to 12 bytes, and a token 12; in memory there are two
    segments of about 65,536 tokens at once. ``build_atlas``, ``compare`` and ``grow`` read such a folder instead of
    encoding again.

    Run again after a kill, it goes on with the segment that is missing and gives the same bytes. Raises BadInput if
    dictionary and activations do not belong together, if there is no room for the codes on the disk, if a code is no
    finite number, or if ``out`` holds something else.
    """
    out, trained = Path(out), artifact.read(Path(dictionary), "dictionary")
    stored = recorded(trained, activations, writes)
    coder = dictionaries.load(dictionary, device=chosen(device))
    inputs = {**stored.inputs, "dictionary": trained.hash}
    with artifact.claim(out, KIND, {"inputs": inputs}) as done:
        if done is None:
            sizes = group([shard.rows for shard in stored.shards])
            _check_room(out, sizes, coder)
            segments = write_codes(coder, stored, out, inputs)
            origin = {name: said for name, said in stored.origin.items() if name != "hygiene"}
            facts = {
                "n_features": segments.n_features, "n_tokens": segments.n_tokens,
                "n_codes": int(segments.n_fired.sum()),
                "segments": [{"tokens": len(each["at"]), "last": int(each["at"][-1])} for each in segments],
            }  # fmt: skip
            config = {**origin, "architecture": trained.config["architecture"], "context": stored.context}
            made = Manifest(kind=KIND, config=config, inputs=inputs, facts=facts)
            artifact.finish(out, made, [name_of(i) for i in range(len(sizes))])
    return StoredCodes.open(out)


def write_codes(coder: Dictionary, stored: Stored, folder: Path, inputs: Mapping[str, str]) -> Segments:
    """Write the segments of codes that ``folder`` lacks, of every row of a recording. Beside them stands what a sample
    of the rows was rebuilt to measure: the place of each, and the two sums of its FVU. ``inputs`` are hashes of the
    recording and of the dictionary, by role."""
    n, sizes = coder.config.n_features, group([shard.rows for shard in stored.shards])
    mean = stored.frame.mean_out.to(next(coder.parameters()).device)
    judged = stored.held_out if stored.held_out.n_tokens else stored
    every = -(-judged.n_tokens // MEASURED)
    is_judged = np.zeros(len(stored.tokens), bool)
    is_judged[judged.contexts] = True

    @torch.no_grad()
    def make(path: Path, start: int, stop: int, advance: Advance) -> Write:
        pieces = []
        for x, y, at, codes in encoded(coder, stored, size=CHUNK, start=start, stop=stop):
            measured = np.empty((0, 3))
            sample = torch.from_numpy(np.flatnonzero(is_judged[at.numpy() // stored.context])[::every])
            if len(sample):
                rows = sample.to(x.device)
                few = Codes(*(part[rows] for part in codes))
                ratio = fvu(Reconstruction(y[rows], coder.rebuild(x[rows], few), few, mean))
                columns = (at[sample], ratio.num, ratio.den)
                measured = torch.stack([each.cpu().double() for each in columns], 1).numpy()
            pieces.append(Coded(codes.values.float().cpu().numpy(), codes.ids.cpu().numpy(), at.numpy(), measured))
            advance(len(x))
        # Sorted here: in the thread that waits for the disk it would take a core from the encoder.
        return partial(write_segment, path, arrays_of(pieces, n))

    folder.mkdir(exist_ok=True)
    paths = [folder / name_of(i) for i in range(len(sizes))]
    jobs = [
        Job(path.name, inputs, rows, partial(is_whole, path, rows, n), partial(make, path, stop - rows, stop))
        for path, rows, stop in zip(paths, sizes, accumulate(sizes), strict=True)
    ]
    run(jobs, "encode", "tokens")
    return Segments(folder, n, sizes)


def _check_room(folder: Path, sizes: Sequence[int], coder: Dictionary) -> None:
    """Raise BadInput where the disk has not the room for the segments that are missing, as far as k says how many
    features fire on a token."""
    n, k = coder.config.n_features, coder.config.k
    code = 4 + (2 if n <= 1 << 16 else 4)
    wanted = sum(rows * (12 + k * (code + (2 if rows <= SEGMENT else 4))) + 8 * (n + 1) for rows in sizes)
    there = sum(path.stat().st_size for i in range(len(sizes)) if (path := folder / name_of(i)).is_file())
    free = shutil.disk_usage(folder).free
    if wanted - there > free:
        raise BadInput(
            f"The codes take about {(wanted - there) / 1e6:,.0f} MB more, and the disk is full after "
            f"{free / 1e6:,.0f} MB. Free some space, or choose an --out on another disk."
        )
