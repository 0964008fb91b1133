"""tables: records and columns as pandas tables. pandas is imported on the first call: nothing else needs it."""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from pydantic import BaseModel

from physalis.errors import BadInput


def table(records: Iterable[Any], *, index: str | None = None) -> Any:
    """A pandas DataFrame of records of one kind, a row a record and a column a field, such as
    ``table(feature.promoted)``. A number with its interval is three columns: ``fvu``, ``fvu_low`` and ``fvu_high``.
    ``index`` is the field that names the rows; they are numbered if none is given.

    Raises BadInput for what is no record, for an ``index`` that is no field, and where pandas is not installed.
    """
    rows = [dict(_spread(_fields(each))) for each in records]
    made = _pandas().DataFrame.from_records(rows)
    return made if index is None else _named(made, index)


def columns(named: Mapping[str, Any], *, index: str | None = None) -> Any:
    """A pandas DataFrame of columns of one length. Where a masked array of whole numbers has no value the table has
    none either, and the others stay whole numbers. Raises BadInput as ``table`` does."""
    pandas = _pandas()
    made = pandas.DataFrame({name: _column(pandas, values) for name, values in named.items()})
    return made if index is None else _named(made, index)


def _named(made: Any, index: str) -> Any:
    if index not in made.columns:
        raise BadInput(f"There is no field {index!r} to name rows by. There are: {', '.join(made.columns)}.")
    return made.set_index(index)


def _column(pandas: Any, values: Any) -> Any:
    if isinstance(values, np.ma.MaskedArray) and values.dtype.kind in "iu":
        return pandas.arrays.IntegerArray(values.filled(0).astype(np.int64), np.ma.getmaskarray(values).copy())
    return values


def _spread(fields: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in fields.items():
        ends = _fields(value) if isinstance(value, BaseModel | Mapping) else {}
        if set(ends) == {"value", "low", "high"}:
            yield from ((name, ends["value"]), (f"{name}_low", ends["low"]), (f"{name}_high", ends["high"]))
        else:
            yield name, value


def _fields(record: Any) -> dict[str, Any]:
    match record:
        case BaseModel():
            return {name: getattr(record, name) for name in type(record).model_fields}
        case tuple() if hasattr(record, "_asdict"):
            return record._asdict()  # pyright: ignore[reportAttributeAccessIssue]
        case Mapping():
            return dict(record)
        case _ if dataclasses.is_dataclass(record) and not isinstance(record, type):
            return {field.name: getattr(record, field.name) for field in dataclasses.fields(record)}
    raise BadInput(
        f"A table is made of records, such as `feature.promoted` or `atlas.list().rows`; received a "
        f"{type(record).__name__}."
    )


def _pandas() -> Any:
    try:
        import pandas
    except ImportError as error:
        raise BadInput("Tables need pandas, which is not installed: pip install 'physalis[tables]'.") from error
    return pandas
