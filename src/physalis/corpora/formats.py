"""formats: a file of text in any of the formats that it comes in, as documents.

Bytes become characters line by line: UTF-8, or UTF-16 and UTF-32 where a byte order mark says so. A line that is no
UTF-8 is read as Windows-1252, of which Latin-1 is a part, and said so. What cannot be read ends in a sentence that
names the file, never in an exception of some library.
"""

import bz2
import codecs
import csv
import gzip
import io
import json
import lzma
import re
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from physalis.corpora.trail import BUFFER, Trail
from physalis.errors import BadInput

LONG_TEXT = 50_000
"""Characters after which a plain text file is cut, at the next blank line, into a further document."""

LONG_LINE = 1 << 18
"""Bytes of a line of plain text that are read at once: some corpora are one line of 100 MB."""

LONGEST_ROW = 32 << 20
"""Characters of a row, whose text is held whole: the longest books have 20 million."""

LONGEST_JSON = 512 << 20
"""Characters of a .json file that is one array, which is held whole too."""

LOOK = 8192
"""Bytes in which a file that is no text shows a NUL."""

LINES, JSON, CSV, TSV, PARQUET, PLAIN = "lines", "json", "csv", "tsv", "parquet", "plain"
KINDS = {
    ".jsonl": LINES, ".ndjson": LINES, ".json": JSON, ".csv": CSV, ".tsv": TSV, ".parquet": PARQUET, ".pq": PARQUET,
}  # fmt: skip
"""Files that hold one document a row, whatever the case of the letters; every other file is plain text."""

UNPACKED: dict[str, Callable[[IO[bytes]], Any]] = {
    ".gz": lambda f: gzip.GzipFile(fileobj=f),
    ".zst": lambda f: pa.CompressedInputStream(pa.PythonFile(f, mode="r"), "zstd"),
    ".bz2": bz2.BZ2File,
    ".xz": lzma.LZMAFile,
}
"""Suffixes behind that of the format."""

READABLE = "plain text, .jsonl, .json, .csv, .tsv or .parquet, as they are or with .gz, .zst, .bz2 or .xz behind"

MOST_TIMES, ROOM = 200, 1 << 28
"""What is unpacked may be that many times as large as its file, and as large as that in any case: text becomes four
times as small, logs twenty times."""

_WIDE = (
    (codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"),
)  # fmt: skip
_BROKEN = (OSError, EOFError, zlib.error, lzma.LZMAError, pa.ArrowException, csv.Error, UnicodeError)
_HALVES = re.compile("[\ud800-\udfff]")


class Unpacking(io.RawIOBase):
    """What is unpacked of a file, as long as it stays in proportion to it."""

    def __init__(self, inside: Any, path: Path) -> None:
        self._inside, self._path, self._n = inside, path, 0
        self._most = ROOM + MOST_TIMES * path.stat().st_size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        read = self._inside.read(len(buffer))
        buffer[: len(read)] = read
        self._n += len(read)
        if self._n > self._most:
            raise BadInput(
                f"{self._path} unpacks to more than {MOST_TIMES} times its size, which no text does. It was read no "
                "further: unpack it yourself if it is what it should be."
            )
        return len(read)


def kind_of(path: Path) -> tuple[str, str]:
    """The format of a file by its name, and the suffix of its compression or ""."""
    name, packed = path.name.lower(), ""
    if path.suffix.lower() in UNPACKED:
        packed = path.suffix.lower()
        name = name.removesuffix(packed)
    return KINDS.get(Path(name).suffix, PLAIN), packed


def is_text(path: Path) -> bool:
    """Whether a file can be text: its name says that it holds rows, or it has no NUL near its beginning. True where it
    cannot be opened: reading it says why."""
    kind, packed = kind_of(path)
    if kind != PLAIN:
        return True
    try:
        with open(path, "rb") as f:
            start = (UNPACKED[packed](f) if packed else f).read(LOOK)
    except _BROKEN:
        return True
    return start.startswith(tuple(mark for mark, _ in _WIDE)) or b"\0" not in start


def texts(path: Path, field: str, trail: Trail) -> Iterator[str]:
    """The documents of a file; what is read of it is noted in ``trail``. ``field`` is where a row holds its text:
    a name, or names with dots between where rows hold rows. Raises BadInput for what cannot be read."""
    kind, packed = kind_of(path)
    try:
        if kind == PARQUET:
            trail.note(path)
            yield from _parquet(path, field)
            return
        with trail.open(path) as raw:
            unpacking: Any = Unpacking(UNPACKED[packed](raw), path) if packed else None
            f = raw if unpacking is None else io.BufferedReader(unpacking, BUFFER)
            if kind == PLAIN:
                yield from _cut(_pieces(f, path))
            else:
                read = {LINES: _json_lines, JSON: _json, CSV: _table, TSV: _table}[kind]
                yield from read(_rows(_pieces(f, path), path), path, field)
    except _BROKEN as error:
        reason = (getattr(error, "strerror", None) or str(error) or type(error).__name__).strip().splitlines()[0]
        raise BadInput(
            f"{path} cannot be read ({reason.rstrip('.')}). It may be damaged, cut short or of another kind than its "
            "name says: fetch it again, rename it or leave it out."
        ) from error


def text_of(row: Any, field: str, where: str) -> str:
    """The text that a row holds in ``field``, whole characters only; "" where it is null. A row that is a text is its
    own. Raises BadInput if the field is missing or holds something else."""
    value = row
    if not isinstance(row, str):
        steps = [field] if isinstance(row, dict) and field in row else field.split(".")
        for step in steps:
            if value is None:
                break
            if not isinstance(value, dict) or step not in value:
                raise BadInput(no_field(field, where, _names(row) if isinstance(row, dict) else []))
            value = value[step]
    if isinstance(value, bytes):
        value = _decoded(value)[0]
    if value is not None and not isinstance(value, str):
        raise BadInput(
            f"The field {field!r} in {where} holds a value of type {type(value).__name__}, not text. "
            "Name another with --field."
        )
    return _whole(value or "")


def no_field(field: str, where: str, names: Iterable[str]) -> str:
    """The sentence for a field that is not there."""
    there = ", ".join(map(str, names)) or "none"
    return f"There is no field {field!r} in {where}; it has: {there}. Name the one that holds the text with --field."


def _names(row: dict) -> list[str]:
    inside = [f"{name}.{inner}" for name, value in row.items() if isinstance(value, dict) for inner in value]
    return [*map(str, row), *inside]


def _whole(text: str) -> str:
    # Half of a surrogate pair, as JSON may hold it, is no character: tokenizers refuse it.
    return text if text.isascii() or not _HALVES.search(text) else _HALVES.sub("\ufffd", text)


def _decoded(line: bytes) -> tuple[str, bool]:
    # The text, and whether it was UTF-8.
    try:
        return line.decode(), True
    except UnicodeDecodeError:
        text = line.decode(errors="surrogateescape")
        if any(ord(c) > 127 and not 0xDC80 <= ord(c) <= 0xDCFF for c in text):
            return line.decode(errors="replace"), True  # UTF-8 with a byte or two that are broken
        return line.decode("cp1252", errors="replace"), False


def _rows(pieces: Iterable[str], path: Path) -> Iterator[str]:
    # Whole lines.
    held: list[str] = []
    size, number = 0, 1
    for piece in pieces:
        held.append(piece)
        size += len(piece)
        if size > LONGEST_ROW:
            raise BadInput(
                f"Line {number} of {path} has more than {LONGEST_ROW:,} characters; a row holds one document. Part it, "
                "or give the text as a file of its own."
            )
        if piece.endswith("\n"):
            yield "".join(held)
            held, size, number = [], 0, number + 1
    if held:
        yield "".join(held)


def _pieces(f: io.BufferedReader, path: Path) -> Iterator[str]:
    # Lines that end in "\n" whatever ended them in the file; those of more than LONG_LINE bytes in pieces.
    start = f.peek(4)[:4]
    wide = next((name for mark, name in _WIDE if start.startswith(mark)), None)
    if wide is not None:
        text_of_it = io.TextIOWrapper(f, encoding=wide, errors="replace")
        yield from iter(lambda: text_of_it.readline(LONG_LINE), "")
        return
    if start.startswith(codecs.BOM_UTF8):
        f.read(len(codecs.BOM_UTF8))
    told, rest = False, b""
    while True:
        read = f.readline(LONG_LINE)
        line, rest = rest + read, b""
        if not line:
            return
        if len(read) == LONG_LINE and not line.endswith(b"\n"):
            end = line.rfind(b" ") + 1 or _last_whole(line)
            line, rest = line[:end], line[end:]
        text, right = _decoded(line)
        if not right and not told:
            told = True
            print(f"{path} is not all UTF-8: lines that are not are read as Windows-1252 (Latin-1).", file=sys.stderr)
        yield text.replace("\r\n", "\n").replace("\r", "\n")


def _last_whole(line: bytes) -> int:
    # Where the last character begins that may go on behind the end.
    return next((i for i in range(len(line) - 1, max(0, len(line) - 4), -1) if line[i] & 0xC0 != 0x80), len(line))


def _cut(lines: Iterable[str]) -> Iterator[str]:
    # One document until LONG_TEXT characters, then up to a blank line, or to 4 times that where there is none.
    held: list[str] = []
    size = 0
    for line in lines:
        held.append(line)
        size += len(line)
        if size >= LONG_TEXT and (not line.strip() or size >= 4 * LONG_TEXT):
            yield "".join(held)
            held, size = [], 0
    if held:
        yield "".join(held)


def _loaded(text: str, what: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{what} is not JSON ({error}).") from error


def _json_lines(lines: Iterable[str], path: Path, field: str) -> Iterator[str]:
    for number, line in enumerate(lines, start=1):
        if line.strip():
            where = f"line {number} of {path}"
            row = _loaded(line, f"L{where[1:]}")
            yield text_of(row, field, where)


def _json(lines: Iterable[str], path: Path, field: str) -> Iterator[str]:
    # One object a line, under this name too; or an array of rows, or one row, which are held whole.
    lines = iter(lines)
    first = next((line for line in lines if line.strip()), "")
    try:
        one_a_line = isinstance(json.loads(first), dict)
    except (ValueError, RecursionError):
        one_a_line = False
    if one_a_line:
        yield text_of(json.loads(first), field, f"line 1 of {path}")
        yield from _json_lines(lines, path, field)
        return
    held, size = [first], len(first)
    for line in lines:
        held.append(line)
        size += len(line)
        if size > LONGEST_JSON:
            raise BadInput(
                f"{path} has more than {LONGEST_JSON:,} characters in one array, which is held whole. Write it as "
                ".jsonl: one object a line."
            )
    rows = _loaded("".join(held), str(path))
    for number, row in enumerate(rows if isinstance(rows, list) else [rows], start=1):
        yield text_of(row, field, f"row {number} of {path}")


def _table(lines: Iterable[str], path: Path, field: str) -> Iterator[str]:
    csv.field_size_limit(LONGEST_ROW)  # 128 KB unless said: books are longer
    lines = iter(lines)
    head = next(lines, "")
    between = "\t" if kind_of(path)[0] == TSV else ";" if ";" in head and "," not in head else ","
    names = next(csv.reader([head], delimiter=between), [])
    if field not in names:
        raise BadInput(no_field(field, str(path), names))
    reader = csv.reader(lines, delimiter=between)
    for row in reader:
        if row:
            yield text_of(dict(zip(names, row, strict=False)), field, f"line {reader.line_num + 1} of {path}")


def _parquet(path: Path, field: str) -> Iterator[str]:
    with pq.ParquetFile(path) as file:
        names = [name for column in file.schema_arrow for name in _columns(column)]
        if field not in names:
            raise BadInput(no_field(field, str(path), names))
        leaves = {file.schema.column(i).path for i in range(len(file.schema))}
    # As a dictionary: a file of a kilobyte may say the same ten megabytes in each of a thousand rows.
    with pq.ParquetFile(path, read_dictionary=[field] if field in leaves else None) as file:
        for batch in file.iter_batches(batch_size=1024, columns=[field]):
            for row in batch.to_struct_array():
                text = text_of(row.as_py(), field, str(path))
                if len(text) > LONGEST_ROW:
                    raise BadInput(f"A row of {path} has more than {LONGEST_ROW:,} characters. Part it.")
                yield text


def _columns(column: Any) -> list[str]:
    inner = [column.type.field(i) for i in range(column.type.num_fields)] if pa.types.is_struct(column.type) else []
    return [column.name, *(f"{column.name}.{name}" for each in inner for name in _columns(each))]
