"""probing_tasks: texts with labels, on which probes are trained: the tasks that the package sae-probes carries.

Kantamneni et al. 2025 ("Are Sparse Autoencoders Useful?", arXiv 2502.16681) gathered them; the package's code is MIT's,
the data sets have licences of their own. Its dependencies are those of another tool, so the file alone is fetched,
checked by its digest and read here: tables of ``prompt`` and ``target``, each compressed with Zstandard.
"""

import csv
import io
import re
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import zstandard

from physalis.errors import BadInput
from physalis.models.sources import packages

PACKAGE = "sae-probes==0.4.2"
WHEEL = "245700c8df310760e3d5b23d657ae5196489813f3012b55975057d8239d8be03"
"""sha256 of its only file."""
TASKS, SHIFTED = "cleaned_data", "OOD data"
"""Folders of the package's ``data``."""
USUAL = (
    "5_hist_fig_ismale", "7_hist_fig_ispolitician", "66_living-room", "67_social-security", "87_glue_cola",
    "92_glue_sst2", "95_toxic_is", "96_spam_is", "105_click_bait", "126_art_type_book", "139_news_class_Politics",
    "159_code_Python",
)  # fmt: skip
"""Facts about names, a pair of words in the text, grammar, sentiment, tone, kinds of text, topics and programming
languages. The first five have a shifted version."""


class Labelled(NamedTuple):
    """Texts, and which of them are of the second of two classes."""

    texts: list[str]
    labels: list[bool]


class ProbingTask(NamedTuple):
    """A question with two answers, asked of texts."""

    name: str
    usual: Labelled
    shifted: Labelled | None
    """The same question of texts of another kind (other languages, other names): nothing is trained on these."""


class ProbingTasks:
    """The tasks of a wheel of sae-probes, or of a folder that was unpacked from one. Opened, nothing is read yet."""

    def __init__(self, at: Path | str | None = None) -> None:
        """``at`` is a wheel, which may be any that is laid out alike; unless given, the one that is pinned here is
        fetched once and kept. Raises BadInput if there is none, or it holds no tasks."""
        self.at = _fetched() if at is None else Path(at)
        if not self.at.exists():
            raise BadInput(f"There is no {self.at}. Give the wheel of {PACKAGE}, or leave it out to have it fetched.")
        self._files = {TASKS: _names(self.at, TASKS), SHIFTED: _names(self.at, SHIFTED)}
        if not self._files[TASKS]:
            raise BadInput(f"{self.at} holds no probing tasks. Give the wheel of {PACKAGE}.")

    @property
    def names(self) -> list[str]:
        """Of all tasks, those with more than two classes too."""
        return sorted(self._files[TASKS], key=lambda name: (int(name.split("_")[0]), name))

    def get(self, names: Sequence[str] | None = None) -> list[ProbingTask]:
        """These tasks, the usual ones that are there unless named. Raises BadInput for one that there is not, and for
        one that has not two classes."""
        if names is None:
            names = [name for name in USUAL if name in self._files[TASKS]] or self.names
        if unknown := [name for name in names if name not in self._files[TASKS]]:
            raise BadInput(
                f"There is no probing task {unknown[0]!r}. There are {len(self.names)}, such as "
                f"{', '.join(self.names[:3])}: name them as their files are."
            )
        return [self._task(name) for name in names]

    def _task(self, name: str) -> ProbingTask:
        rows = self._rows(TASKS, name)
        classes = sorted({target for _, target in rows})
        if len(classes) != 2:
            raise BadInput(f"The probing task {name} has {len(classes)} classes; probes tell two apart. Leave it out.")
        usual = Labelled([text for text, _ in rows], [target == classes[1] for _, target in rows])
        if name not in self._files[SHIFTED]:
            return ProbingTask(name, usual, None)
        rows = self._rows(SHIFTED, name)
        if not {target for _, target in rows} <= {*classes}:  # one file has labels of another kind
            return ProbingTask(name, usual, None)
        return ProbingTask(name, usual, Labelled([text for text, _ in rows], [t == classes[1] for _, t in rows]))

    def _rows(self, kind: str, name: str) -> list[tuple[str, str]]:
        packed = _read(self.at, self._files[kind][name])
        try:
            table = zstandard.ZstdDecompressor().stream_reader(packed).read().decode()
            csv.field_size_limit(max(csv.field_size_limit(), len(table) + 1))
            rows = [(row["prompt"], row["target"]) for row in csv.DictReader(io.StringIO(table, newline=""))]
        except (KeyError, UnicodeDecodeError, csv.Error, zstandard.ZstdError) as error:
            raise BadInput(
                f"{self._files[kind][name]} of {self.at} is no table of prompts and targets ({error}). Give the wheel "
                f"of {PACKAGE}."
            ) from error
        return [(text, target) for text, target in rows if text and text.strip() and target]


def _names(at: Path, kind: str) -> dict[str, str]:
    """Task to member, or to path below the folder."""
    if at.is_dir():
        found = [each.relative_to(at).as_posix() for each in at.rglob("*.csv.zst")]
    else:
        try:
            found = zipfile.ZipFile(at).namelist()
        except (OSError, zipfile.BadZipFile) as error:
            raise BadInput(f"{at} is no wheel ({error}). Give that of {PACKAGE}.") from error
    pattern = re.compile(rf"(?:.*/)?{re.escape(kind)}/(\d+_.+?)(?:_OOD)?\.csv\.zst")
    named = ((pattern.fullmatch(each), each) for each in found)
    return {match[1]: each for match, each in named if match and (kind == TASKS or each.endswith("_OOD.csv.zst"))}


def _read(at: Path, name: str) -> bytes:
    return (at / name).read_bytes() if at.is_dir() else zipfile.ZipFile(at).read(name)


def _fetched() -> Path:
    """The cached folder, made on the first call."""

    def make(wheel: Path, folder: Path) -> None:
        with zipfile.ZipFile(wheel) as members:
            for name in members.namelist():
                if name.endswith(".csv.zst"):
                    members.extract(name, folder)

    return packages.kept(
        f"sae-probes-{WHEEL[:12]}", PACKAGE, WHEEL, make, what="155 probing tasks", size="45 MB",
        otherwise="Check the connection to the package index, or give its wheel with --probes.",
    )  # fmt: skip
