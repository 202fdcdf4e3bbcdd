"""The page of all columns: what a store holds, and what is known of a grasp after it was tried."""

from markup import cell, code, table


def _shape(row: tuple[int, ...]) -> str:
    return " x ".join("n" if size < 0 else str(size) for size in row) or "1"


def column_page() -> str:
    """Return the page, from the schema of stores and the declarations of the columns."""
    from sceneleapultra.datasets.store.schema import ATTRIBUTES
    from sceneleapultra.datasets.store.schema import COLUMNS as STORED
    from sceneleapultra.utils.columns import COLUMNS

    measured = [
        (code(c.name), cell(c.help), cell(c.unit), "yes" if c.stored else "", ", ".join(c.reductions))
        for c in COLUMNS.values()
    ]
    stored = [(code(name), code(c.dtype), _shape(c.row)) for name, c in STORED.items()]
    parts = [
        "# Columns",
        "## What is known of a grasp after it was tried",
        "Declared once, in `utils/columns.py`; the simulator fills them, stores keep some, results reduce them.",
        table(["column", "meaning", "unit", "in stores", "reduced by"], measured),
        "## What a store holds",
        "One HDF5 file. `<rows>_ptr` holds where the rows of each owner start, and where those of the last one end. A "
        f"row of shape n has a size that hand or protocol decides. Attributes: {', '.join(map(code, ATTRIBUTES))}.",
        table(["column", "type", "shape of a row"], stored),
    ]
    return "\n\n".join(parts) + "\n"
