"""Write a table as an Excel workbook; the only module that imports xlsxwriter."""

from datetime import datetime
from pathlib import Path

import numpy as np

from gadkit.store.files import atomic_path

MOST_ROWS = 1_048_576  # of a sheet, the header included; Excel's own limits
LONGEST = 32_767  # characters of a cell
_LARGEST = 1 << 53  # beyond it Excel, which knows doubles alone, would change a whole number
_CREATED = datetime(1980, 1, 1)  # of every workbook, so that equal columns give equal bytes


def write(path: Path, columns: dict[str, np.ndarray]) -> None:
    """Write columns of equal length as a sheet, atomically; what is masked or NaN stays empty.

    A text is written as text, whatever it looks like: nothing in it is a formula or a link. So is
    a whole number beyond 2^53.

    Args:
        path: to write.
        columns: (num_rows,) each: numbers, bool, or texts.

    Raises:
        ValueError: there are more rows than a sheet has, columns differ in length, a number is
            infinite, or a text is too long for a cell.
    """
    lengths = {len(values) for values in columns.values()}
    if len(lengths) > 1:
        raise ValueError(f"{path} cannot be written: columns have {sorted(lengths)} rows")
    if max(lengths, default=0) >= MOST_ROWS:
        raise ValueError(
            f"{path} cannot be written: a sheet has room for {MOST_ROWS - 1:,} rows, but there are "
            f"{max(lengths):,}; write .csv or .parquet, or fewer rows with --top"
        )
    with atomic_path(path) as temporary:
        _write_workbook(temporary, path, columns)


def _write_workbook(temporary: Path, path: Path, columns: dict[str, np.ndarray]) -> None:
    import xlsxwriter

    workbook = xlsxwriter.Workbook(str(temporary), {"in_memory": True})
    workbook.set_properties({"created": _CREATED})
    sheet = workbook.add_worksheet()
    sheet.freeze_panes(1, 0)
    try:
        for place, (name, values) in enumerate(columns.items()):
            cells = [name, *_cells(values)]
            sheet.set_column(place, place, min(max(len(str(c)) for c in cells[:200]) + 2, 40))
            for row, cell in enumerate(cells):
                _write_cell(sheet, row, place, cell, path)
    finally:
        workbook.close()


def _cells(values: np.ndarray) -> list:
    """Return the values as Python has them, None where one is masked or NaN."""
    missing = np.ma.getmaskarray(values)
    data = np.ma.getdata(values)
    if data.dtype.kind == "f":
        missing = missing | np.isnan(data)
        # As many digits as tell two numbers of this type apart: a float32 of 0.1 is shown as 0.1.
        data = data.astype(str).astype(np.float64)
    return [None if gone else cell for cell, gone in zip(data.tolist(), missing, strict=True)]


def _write_cell(sheet, row: int, column: int, cell: object, path: Path) -> None:
    if cell is None:
        return
    if isinstance(cell, bool):
        sheet.write_boolean(row, column, cell)
    elif isinstance(cell, float) or (isinstance(cell, int) and abs(cell) <= _LARGEST):
        if abs(cell) == np.inf:
            raise ValueError(f"{path} cannot be written: row {row} holds a number that is infinite")
        sheet.write_number(row, column, cell)
    elif sheet.write_string(row, column, str(cell)):
        raise ValueError(
            f"{path} cannot be written: a text of row {row} is longer than {LONGEST:,} characters; "
            "write .csv or .parquet"
        )
