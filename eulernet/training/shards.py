"""The sharded tensors of a checkpoint: each rank writes its rows, and any number of ranks reads them.

torch.distributed.checkpoint keeps them in the folder ``tables`` beside ``last.ckpt``, which has a tensor without
values (device "meta") in the place of each. Its name there is its path in the state: "model.embedding.table.weight".
"""

import io
import pickle
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from eulernet.distributed.ranks import all_gather_objects, is_sharded, rank, rows_of_rank, sharded
from eulernet.errors import UserError
from eulernet.files import checksum
from eulernet.training.files import writing

TABLES, METADATA = "tables", ".metadata"
CHECKPOINT = "torch.distributed.checkpoint"
PLAIN = {
    *((f"{CHECKPOINT}.metadata", name) for name in (
        "Metadata", "MetadataIndex", "StorageMeta", "TensorStorageMetadata", "ChunkStorageMetadata", "TensorProperties",
        "_MEM_FORMAT_ENCODING")),
    (f"{CHECKPOINT}.filesystem", "_StorageInfo"), ("torch.serialization", "_get_layout"), ("torch", "Size"),
    ("pathlib", "PosixPath"), ("pathlib._local", "PosixPath"),
}  # fmt: skip


def take_out(state: Any) -> tuple[Any, dict[str, Tensor]]:
    """``state`` (dictionaries and lists) with a tensor without values for each sharded one; and these by name."""
    found: dict[str, Tensor] = {}

    def note(name: str, tensor: Tensor) -> Tensor:
        found[name] = tensor.detach()
        return torch.empty(tensor.shape, dtype=tensor.dtype, device="meta")

    return _replaced(state, "", is_sharded, note), found


def write(tables: dict[str, Tensor], folder: Path) -> dict[str, str]:
    """Write ``tables`` into ``folder``/tables, each rank its rows. All ranks call it; the checksums of the files."""
    from torch.distributed.checkpoint.filesystem import FileSystemWriter
    from torch.distributed.checkpoint.state_dict_saver import save

    shared = folder / TABLES
    with writing(shared):
        _calmly(partial(save, tables, storage_writer=FileSystemWriter(shared)))
    own = [*shared.glob(f"__{rank()}_*"), *([shared / METADATA] if rank() == 0 else [])]
    sums = all_gather_objects({f"{TABLES}/{file.name}": checksum(file) for file in own})
    return {name: found for each in sums for name, found in each.items()}


def missing(state: Any, folder: Path) -> bool:
    """Whether ``state`` has tensors without values, and ``folder`` does not have these."""
    without: list[str] = []
    _replaced(state, "", _is_empty, lambda name, _: without.append(name))
    return bool(without) and not (folder / TABLES / METADATA).is_file()


def read(state: Any, name: str, folder: Path, mesh: Any = None) -> Any:
    """``state``, which stands under ``name`` in that of ``folder``, with values: sharded over ``mesh``, or whole.

    All ranks of ``mesh`` call it. UserError where the values cannot be read.
    """
    from torch.distributed.checkpoint.state_dict_loader import load

    wanted: dict[str, Tensor] = {}

    def new(name: str, tensor: Tensor) -> Tensor:
        wanted[name] = _room(tensor, mesh)
        return wanted[name]

    state = _replaced(state, name, _is_empty, new)
    if wanted:
        try:
            _calmly(partial(load, wanted, storage_reader=_reader(folder / TABLES), no_dist=mesh is None))
        except (OSError, ValueError, LookupError, RuntimeError, AssertionError, pickle.UnpicklingError) as error:
            if dist.is_initialized() and isinstance(error, dist.DistError):
                raise
            said = (str(error) or type(error).__name__).splitlines()[0]
            raise UserError(f"{folder / TABLES} cannot be read ({said})") from None
    return state


def _room(like: Tensor, mesh: Any) -> Tensor:
    if mesh is None:
        return torch.empty(like.shape, dtype=like.dtype)
    from torch.distributed.tensor import Shard

    held = rows_of_rank(rank(), len(like))
    mine = torch.empty(held.stop - held.start, *like.shape[1:], dtype=like.dtype, device=mesh.device_type)
    return sharded(mine, len(like), mesh, [Shard(0)])


def _is_empty(value: object) -> bool:
    return isinstance(value, Tensor) and value.is_meta


def _replaced(tree: Any, name: str, which: Callable[[object], bool], new: Callable[[str, Tensor], Any]) -> Any:
    """``tree`` with ``new(path, tensor)`` in the place of each value that is one ``which`` holds for."""
    if which(tree):
        return new(name, tree)
    below = partial(_replaced, which=which, new=new)
    dot = f"{name}." if name else ""
    if isinstance(tree, dict):
        return {key: below(value, f"{dot}{key}") for key, value in tree.items()}
    if isinstance(tree, list):
        return [below(value, f"{dot}{place}") for place, value in enumerate(tree)]
    return tree


def _calmly(work: Callable[[], object]) -> None:
    """``work`` without torch's warnings, and with the first error of the ranks instead of a BaseException of all."""
    from torch.distributed.checkpoint.api import CheckpointException

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            work()
    except CheckpointException as error:
        errors = [cause for cause, _ in error.failures.values()]
        raise next((cause for cause in errors if isinstance(cause, KeyboardInterrupt)), errors[0]) from None


def _reader(folder: Path) -> Any:
    """torch's, which would unpickle whatever ``folder`` says; this one takes nothing that runs code."""
    from torch.distributed.checkpoint.filesystem import FileSystemReader

    found = Plain(io.BytesIO((folder / METADATA).read_bytes())).load()

    class Reader(FileSystemReader):
        def read_metadata(self, *_: Any, **__: Any) -> Any:
            found.storage_meta.load_id = self.load_id
            return found

    return Reader(folder)


class Plain(pickle.Unpickler):
    """Refuses all but what torch.distributed.checkpoint says of tensors."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in PLAIN or (module == "torch" and isinstance(getattr(torch, name, None), torch.dtype)):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"it names {module}.{name}")
