"""A model that goes on with tomorrow's log: its weights and moments, in tables that have more rows."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from eulernet.errors import require
from eulernet.features import GivenVectors
from eulernet.models.base import CTRModel
from eulernet.training.tables import embeddings_of

GIVEN = ("vectors", "known")  # what GivenVectors holds of each id
Kept = Sequence[np.ndarray]  # for each field bool [its ids before]: which of them mean what they meant


@torch.no_grad()
def grow_weights(old: CTRModel, new: CTRModel, kept: Kept) -> None:
    """Put the weights of ``old`` into ``new``, whose tables may be larger: rows that were kept, and all else whole.

    The rows of new ids stay as ``new`` drew them. UserError where the models differ in more than their tables.
    """
    here, there = new.state_dict(), old.state_dict()
    tables = {id(table.weight) for table in tables_of(new)}
    own = {name for name, weight in new.named_parameters() if id(weight) in tables}
    given = {f"{name}.{of}" for name, part in new.named_modules() if isinstance(part, GivenVectors) for of in GIVEN}
    for name in here:
        same = name in there and (name in own | given or here[name].shape == there[name].shape)
        require(same and here.keys() == there.keys(), f"the models differ in {name}: start_from goes on with the same")
        if name not in own | given:
            here[name].copy_(there[name])
    for old_part, new_part in zip(embeddings_of(old), embeddings_of(new), strict=True):
        for field, before, after in zip(new_part.given_fields, old_part.given, new_part.given, strict=True):
            for of in GIVEN:  # what was retired has no vector; nor has what is new
                values = getattr(before, of)
                ids = torch.from_numpy(np.flatnonzero(kept[field][: len(values)])).to(values.device)
                getattr(after, of).index_copy_(0, ids, values[ids].to(getattr(after, of)))
    for before, after, sizes in zip(tables_of(old), tables_of(new), sizes_of(old, new), strict=True):
        copy_rows(before.weight, after.weight.data, *sizes, kept)


def grow_moments(saved: Mapping[str, Any], old: CTRModel, new: CTRModel, kept: Kept) -> dict[str, Any]:
    """An optimizer's state of ``old`` as one of ``new``: rows of new ids have no moments yet, which are zeros."""
    state, groups = dict(saved["state"]), saved["param_groups"]
    numbers: list[int] = next((group["params"] for group in groups if group["tables"]), [])
    for number, before, sizes in zip(numbers, tables_of(old), sizes_of(old, new), strict=True):
        rows = len(before.weight)
        state[number] = {
            name: grown(value, rows, *sizes, kept) if value.dim() and len(value) == rows else value
            for name, value in state.get(number, {}).items()
        }
    return {"state": state, "steps": {group["tables"]: group["steps"] for group in groups}}


def grown(moment: Tensor, rows: int, before: Sequence[int], after: Sequence[int], kept: Kept) -> Tensor:
    """A moment of each of the ``rows`` of a table, for the rows that it has ``after``."""
    larger = moment.new_zeros(sum(after), *moment.shape[1:])
    copy_rows(moment, larger, before, after, kept)
    return larger


def copy_rows(
    old: Float[Tensor, "*K"], new: Float[Tensor, "*N"], before: Sequence[int], after: Sequence[int], kept: Kept
) -> None:
    """Copy, field by field, the rows that were ``kept`` of a table with ``before`` rows into one with ``after``."""
    fields = zip(old.split(list(before)), new.split(list(after)), kept, strict=True)
    for of_old, of_new, known in fields:
        rows = torch.from_numpy(np.flatnonzero(known[: len(of_old)]))
        of_new.index_copy_(0, rows.to(new.device), of_old.index_select(0, rows.to(old.device)).to(new))


def tables_of(model: CTRModel) -> list[nn.Embedding]:
    """In the order of the model's parameters, which is that of an optimizer's state."""
    there = {id(embedding.table.weight): embedding.table for embedding in embeddings_of(model)}
    return [there[id(weight)] for weight in model.parameters() if id(weight) in there]


def sizes_of(old: CTRModel, new: CTRModel) -> list[tuple[list[int], list[int]]]:
    """How many rows each field has in each table, before and after."""

    def rows(model: CTRModel) -> list[list[int]]:
        there = {id(embedding.table.weight): embedding.field_sizes for embedding in embeddings_of(model)}
        return [there[id(table.weight)] for table in tables_of(model)]

    return list(zip(rows(old), rows(new), strict=True))
