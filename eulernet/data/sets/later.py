"""The recipe of a log that comes after the rows of an earlier run."""

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import polars as pl

from eulernet.data import kinds
from eulernet.data.growth import Growth
from eulernet.data.recipe import Recipe
from eulernet.errors import UserError, require, require_there

if TYPE_CHECKING:
    from eulernet.data.sets.table import Table


def later(table: "Table", growth: Growth, there: pl.DataFrame) -> Recipe:
    """The fields of the earlier run, as it read them, of rows of which ``there`` are the first.

    UserError for another label, and for a column of time that is not there.
    """
    earlier = growth.earlier
    label, types = earlier.label, earlier.form.columns
    same = table.label in (None, label.column)
    require(same, f"dataset.label={table.label}: the earlier run's is {label.column}, and stays so")
    for name in table.computed:
        why = "is computed from a log, which begins before the new rows"
        raise UserError(f"history {name} {why}: train on the whole log, or have its lists in a column from the start")
    fields = []
    for described, coder in zip(earlier.meta["fields"], earlier.coders, strict=True):
        name = described["name"]
        settings = kinds.settings_of(name, (table.fields or {}).get(name) or described["kind"])
        if settings.get("min_count", 0) is None:
            settings["min_count"] = table.min_count
        same = kinds.KINDS[settings["kind"]].field.coder is type(coder)
        require(same, f"dataset.fields.{name}: it was a {coder.kind} in the earlier run, and stays so")
        if "vectors" in settings:
            settings["vectors"] = None  # those of known values are among the weights
        fields.append(kinds.make_field(name, settings, earlier.columns[described["column"]]))
    kept = sorted({name for name in (*table.kept, table.split_column) if name is not None})
    require_there(kept, there.columns, "the new rows")
    columns = {**earlier.columns, label.column: types[label.column]}
    columns |= {} if table.weight is None else {table.weight: pl.Float64}
    return Recipe(
        name=table.name,
        version=2,
        protocol=earlier.meta["protocol"].partition("; ids from ")[0],
        form=replace(earlier.form, columns=columns, kept=kept),
        label=label,
        fields=fields,
        scan=partial(growth.pieces, columns=columns, kept=kept),
        weight=table.weight,
        negatives_kept=table.negatives_kept,
        growth=replace(growth, rescale=table.rescale, retire_after=table.retire_after),
        day=table.day(there),
    )
