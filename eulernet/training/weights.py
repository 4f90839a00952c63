"""The best weights of a run: ``model.safetensors``, or parts of it with an index where they are larger than ``LIMIT``.

    model.safetensors.index.json        {"metadata": {"total_size": ...}, "weight_map": {tensor: file}}
    model-000007-00001-of-00002.safetensors    ...

The index is that of Hugging Face's libraries, which take any names of parts; the first number is the checkpoint's, so
that the parts of two epochs never bear one name. A tensor is in one file, whatever its size. No process
has a sharded tensor whole: rank 0 writes the rows of the others as they come.
"""

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from eulernet.distributed.ranks import is_sharded, local_shard, rank, rows_of_rank, world_size
from eulernet.errors import UserError, require

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
PART = re.compile(r"model-(?:\d{6}-)?\d{5}-of-\d{5}\.safetensors")
LIMIT = 5_000_000_000  # bytes of tensors in a file
PIECE = 1 << 24  # bytes that are sent at once
TENSORS = 10_000  # in a file, and in an index
INDEX_BYTES = 1 << 24
DTYPES = {
    torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16",
    torch.int64: "I64", torch.int32: "I32", torch.uint8: "U8", torch.bool: "BOOL",
}  # fmt: skip


def weight_files(folder: Path) -> list[str]:
    """The names of the files of weights in ``folder``: one, or the index and its parts; none where there are none."""
    if (folder / WEIGHTS).exists():
        return [WEIGHTS]
    return [INDEX, *sorted({*_read_index(folder / INDEX).values()})] if (folder / INDEX).exists() else []


def is_weights(name: str) -> bool:
    """Whether a file of this name holds weights, or their index."""
    return name in (WEIGHTS, INDEX) or PART.fullmatch(name) is not None


def save_weights(tensors: Mapping[str, Tensor], folder: Path | None, number: int = 0) -> None:
    """Write ``tensors``, some of them sharded, into ``folder`` in rank 0, whose alone it is. All ranks call it.

    ``number`` is that of the checkpoint.
    """
    groups = _groups(tensors)
    count = len(groups)
    names = (
        [WEIGHTS] if count == 1 else [f"model-{number:06}-{n + 1:05}-of-{count:05}.safetensors" for n in range(count)]
    )
    for name, group in zip(names, groups, strict=True):
        _save(group, None if folder is None else folder / name)
    if folder is not None and len(groups) > 1:
        where = {key: name for name, group in zip(names, groups, strict=True) for key in group}
        index = {"metadata": {"total_size": sum(map(_bytes, tensors.values()))}, "weight_map": where}
        (folder / INDEX).write_text(json.dumps(index, indent=2) + "\n")


def _groups(tensors: Mapping[str, Tensor]) -> list[dict[str, Tensor]]:
    """The tensors of each file, in their order."""
    groups, room = [dict[str, Tensor]()], LIMIT
    for name, tensor in tensors.items():
        if groups[-1] and _bytes(tensor) > room:
            groups.append({})
            room = LIMIT
        groups[-1][name] = tensor
        room -= _bytes(tensor)
    return groups


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def _save(tensors: dict[str, Tensor], file: Path | None) -> None:
    if not any(map(is_sharded, tensors.values())):
        if file is not None:
            save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, file)
            file.chmod(0o644)  # safetensors lets only the owner read
        return
    # As safetensors orders them: the widest numbers first, so that each is aligned.
    ordered = sorted(tensors.items(), key=lambda one: (-one[1].element_size(), one[0]))
    if file is None:
        for _, tensor in ordered:
            for _ in _pieces(tensor):
                pass
        return
    about, end = dict[str, Any](), 0
    for name, tensor in ordered:
        start, end = end, end + _bytes(tensor)
        about[name] = {"dtype": DTYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [start, end]}
    header = json.dumps(about, separators=(",", ":"), ensure_ascii=False).encode()
    header += b" " * (-len(header) % 8)
    with file.open("wb") as stream:
        stream.write(len(header).to_bytes(8, "little") + header)
        for _, tensor in ordered:
            for piece in _pieces(tensor):
                stream.write(piece.contiguous().view(-1).view(torch.uint8).numpy().data)


def _pieces(tensor: Tensor) -> Iterator[Tensor]:
    """In rank 0 the rows of ``tensor`` in order, on the CPU; the other ranks send theirs and yield nothing."""
    if not is_sharded(tensor):
        if rank() == 0:
            yield tensor.detach().cpu()
        return
    mine, row = local_shard(tensor.detach()), tensor.element_size() * tensor.shape[1:].numel()
    most = max(1, PIECE // row)
    for owner in range(world_size()):
        held = rows_of_rank(owner, len(tensor))
        for start in range(0, held.stop - held.start, most):
            rows = min(most, held.stop - held.start - start)
            if owner == rank():
                piece = mine[start : start + rows].cpu().contiguous()
                if owner:
                    dist.send(piece, 0)
                else:
                    yield piece
            elif rank() == 0:
                piece = torch.empty(rows, *tensor.shape[1:], dtype=tensor.dtype)
                dist.recv(piece, owner)
                yield piece


class Weights:
    """The weights in ``file``, or in the parts whose index is beside it. UserError where they are missing or damaged.

    ``shapes`` has the name and shape of each tensor, from the headers alone.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        index = file.with_name(INDEX)
        where = _read_index(index) if index.exists() and not file.exists() else None
        self.shapes: dict[str, tuple[int, ...]] = {}
        self._file_of: dict[str, Path] = {}
        for part in [file] if where is None else [file.with_name(name) for name in sorted({*where.values()})]:
            require(part.is_file(), f"there is no {part}")
            with self._opened(part) as opened:
                names = list(opened.keys())
                require(len(names) <= TENSORS, f"{part} holds {len(names):,} tensors; the limit is {TENSORS:,}")
                self.shapes |= {name: tuple(opened.get_slice(name).get_shape()) for name in names}
                self._file_of |= dict.fromkeys(names, part)
        found = {name: part.name for name, part in self._file_of.items()}
        require(where in (None, found), f"{index} names other tensors than its parts hold; get them again")

    def rows(self, name: str, rows: slice | None = None) -> Tensor:
        """A tensor, or ``rows`` of it, which alone are read."""
        with self._opened(self._file_of[name]) as opened:
            return opened.get_tensor(name) if rows is None else opened.get_slice(name)[rows]

    def all(self) -> dict[str, Tensor]:
        return {name: self.rows(name) for name in self.shapes}

    @contextmanager
    def _opened(self, file: Path) -> Iterator[Any]:
        try:
            with safe_open(file, "pt") as opened:
                yield opened
        except (OSError, SafetensorError) as error:
            raise UserError(f"{file} cannot be read ({error})") from None


def _read_index(file: Path) -> dict[str, str]:
    """File names by tensor. UserError if it is damaged."""
    try:
        require(file.stat().st_size <= INDEX_BYTES, f"{file} is too large")
        where = json.loads(file.read_text(encoding="utf-8"))["weight_map"]
        fits = 0 < len(where) <= TENSORS and all(PART.fullmatch(name) for name in where.values())
    except (OSError, ValueError, TypeError, LookupError, AttributeError, RecursionError):
        fits = False
    require(fits, f"{file} is damaged; get it again")
    return dict(where)
