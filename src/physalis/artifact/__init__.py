"""The one on-disk format: a folder with manifest.json and arrays; claim, write atomically, hash, finish, read back.

A verb that makes an artefact
1. ``claim``s the folder: takes its lock, refuses a folder that holds something else, and writes ``job.json``;
2. writes files with ``write_atomic`` (temporary name, fsync, rename), so that a kill leaves whole files or none;
3. ``finish``es: hashes the files and writes ``manifest.json`` last. A folder with a manifest is complete.
Manifests carry no times and no paths: the same job gives the same bytes, and a folder can be moved. What is finished is
opened without writing anything, so that it may lie where nothing can be written.
"""

from physalis.artifact.claims import HASH, LOCK, check_free, claim, is_claimed, is_named
from physalis.artifact.files import (
    file_digest,
    holding,
    is_held,
    plain,
    read_bytes,
    read_json,
    remove,
    temporary_of,
    tidy,
    unreadable,
    write_atomic,
    write_json,
    writing,
)
from physalis.artifact.finished import (
    JOB,
    MANIFEST,
    check_digest,
    check_no_link,
    finish,
    inside,
    kind_of,
    read,
    several,
)
from physalis.artifact.kinds import in_words
from physalis.artifact.lines import read_lines, write_lines
from physalis.artifact.manifest import AGAIN, MISFIT, SCHEMA, Manifest, digest, parsed, wrong

__all__ = [
    "AGAIN", "HASH", "JOB", "LOCK", "MANIFEST", "MISFIT", "SCHEMA", "Manifest", "check_digest", "check_free",
    "check_no_link", "claim", "digest", "file_digest", "finish", "holding", "in_words", "inside", "is_claimed",
    "is_held", "is_named", "kind_of", "parsed", "plain", "read", "read_bytes", "read_json", "read_lines", "remove",
    "several", "temporary_of", "tidy", "unreadable", "write_atomic", "write_json", "write_lines", "writing", "wrong",
]  # fmt: skip
