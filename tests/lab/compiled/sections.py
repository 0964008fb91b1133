"""Text of programs in many short documents: Python's own modules, cut where a class or function begins."""

import re
import sysconfig
from pathlib import Path

import numpy as np

MODULES = (
    "argparse", "ast", "calendar", "cmd", "configparser", "csv", "datetime", "difflib", "dis", "doctest", "fractions",
    "ftplib", "gettext", "glob", "heapq", "inspect", "optparse", "pdb", "pprint", "shlex", "shutil", "smtplib",
    "statistics", "string", "subprocess", "tarfile", "tempfile", "textwrap", "threading", "tokenize", "traceback",
    "unittest/case", "unittest/mock", "urllib/parse", "urllib/request", "zipfile",
)  # fmt: skip
LEAST = 1_000
"""Characters."""


def write_sections(folder: Path) -> str:
    """The folder, as ``record`` takes it. Sections stand in any order."""
    library, written = Path(sysconfig.get_paths()["stdlib"]), []
    for name in MODULES:
        path = library / f"{name}.py"
        parts = re.split(r"\n(?=class |def |    def )", path.read_text(encoding="utf-8")) if path.exists() else []
        section = ""
        for part in parts:
            section += f"{part}\n"
            if len(section) >= LEAST:
                written.append(section)
                section = ""
    folder.mkdir()
    for number, i in enumerate(np.random.default_rng(0).permutation(len(written))):
        (folder / f"{number:04}.txt").write_text(written[i], encoding="utf-8")
    return str(folder)
