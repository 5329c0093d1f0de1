"""Tables as a Parquet file, a row a cell, with typed columns: absent values are null."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO

from retable.bench.errors import BenchError
from retable.bench.report.flat import COLUMNS, flat
from retable.bench.report.table import Table


def render(tables: Sequence[Table]) -> bytes:
    """The bytes of the file; raises BenchError without pyarrow."""
    try:
        import pyarrow
        from pyarrow import parquet
    except ModuleNotFoundError as error:
        raise BenchError('Parquet needs pyarrow: pip install -e ".[export]"') from error
    kinds = {
        str: pyarrow.string(),
        float: pyarrow.float64(),
        int: pyarrow.int64(),
        list: pyarrow.list_(pyarrow.string()),
    }
    schema = pyarrow.schema([(name, kinds[kind]) for name, kind in COLUMNS.items()])
    file = BytesIO()
    parquet.write_table(pyarrow.Table.from_pylist(list(flat(tables)), schema=schema), file)
    return file.getvalue()
