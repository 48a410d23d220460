"""Tensors of safetensors files, read and written a piece at a time.

Files are read with plain reads, not mapped: what is mapped counts as the process's memory, so that a 13 GB model would
seem to need 13 GB. Memory is bounded by the largest piece that is asked for.
"""

import hashlib
import json
import math
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from palladion.errors import InputError
from palladion.models.safetensors_header import read_header

if TYPE_CHECKING:
    import torch

__all__ = [
    "BLOCK_BYTES",
    "FLOATS",
    "PIECE_ELEMENTS",
    "TensorFile",
    "as_bytes",
    "bytes_of",
    "file_sha256",
    "same_bytes",
    "torch_dtype",
    "write_tensors",
]

BLOCK_BYTES = 16 << 20
"""Bytes, as stored, of the pieces in which large tensors are handled."""

PIECE_ELEMENTS = 4 << 20
"""Elements of the pieces in which tensors are handled whose shape does not matter."""

FLOATS = ("F64", "F32", "BF16", "F16")
"""Types whose tensors can be averaged and added to."""

_TORCH = {
    "BOOL": "bool",
    "U8": "uint8",
    "I8": "int8",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "I16": "int16",
    "U16": "uint16",
    "F16": "float16",
    "BF16": "bfloat16",
    "I32": "int32",
    "U32": "uint32",
    "F32": "float32",
    "I64": "int64",
    "U64": "uint64",
    "F64": "float64",
}


class TensorFile:
    """A safetensors file whose header has been read and checked.

    Attributes:
        path: the file.
        tensors: type, shape and place of each tensor by name, in the order of the header.

    Raises:
        InputError: the file is none, is cut off, or contradicts itself.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.tensors = read_header(path)
        # The tensors fill the file to its end exactly; that was checked.
        self._start = path.stat().st_size - max((info.end for info in self.tensors.values()), default=0)

    def elements(self, name: str) -> int:
        """Number of a tensor's elements."""
        return math.prod(self.tensors[name].shape)

    def read(self, name: str, first: int = 0, last: int | None = None) -> "torch.Tensor":
        """Rows ``first`` to ``last`` (all by default) of a tensor, in its own type."""
        import torch

        info = self.tensors[name]
        dtype = torch_dtype(info.dtype, self.path, name)
        if not info.shape:
            return torch.frombuffer(self._bytes(info.begin, info.end), dtype=dtype).reshape(())
        rows = info.shape[0]
        last = rows if last is None else last
        assert 0 <= first <= last <= rows
        shape = (last - first, *info.shape[1:])
        if 0 in shape:
            return torch.empty(shape, dtype=dtype)
        width = (info.end - info.begin) // rows
        return torch.frombuffer(
            self._bytes(info.begin + first * width, info.begin + last * width), dtype=dtype
        ).reshape(shape)

    def blocks(self, name: str, block_bytes: int = BLOCK_BYTES) -> Iterator[tuple[int, "torch.Tensor"]]:
        """The tensor in blocks of whole rows, each with the number of its first row."""
        info = self.tensors[name]
        if not info.shape or info.end - info.begin <= block_bytes:
            yield 0, self.read(name)
            return
        rows = info.shape[0]
        height = max(1, block_bytes * rows // (info.end - info.begin))
        for first in range(0, rows, height):
            yield first, self.read(name, first, min(first + height, rows))

    def pieces(self, name: str) -> Iterator["torch.Tensor"]:
        """The tensor's elements in their order, :data:`PIECE_ELEMENTS` at a time and in one dimension."""
        import torch

        info = self.tensors[name]
        dtype = torch_dtype(info.dtype, self.path, name)
        step = PIECE_ELEMENTS * dtype.itemsize
        for begin in range(info.begin, info.end, step):
            yield torch.frombuffer(self._bytes(begin, min(begin + step, info.end)), dtype=dtype)

    def raw(self, name: str) -> Iterator[bytes]:
        """The tensor's bytes as they are, in pieces."""
        info = self.tensors[name]
        with self.path.open("rb", buffering=0) as file:
            file.seek(self._start + info.begin)
            left = info.end - info.begin
            while left:
                piece = file.read(min(left, BLOCK_BYTES))
                if not piece:
                    raise InputError("became shorter while it was read", path=self.path)
                left -= len(piece)
                yield piece

    def _bytes(self, begin: int, end: int) -> bytearray:
        buffer = bytearray(end - begin)
        view, done = memoryview(buffer), 0
        with self.path.open("rb", buffering=0) as file:
            file.seek(self._start + begin)
            while done < len(buffer):
                count = file.readinto(view[done:])
                if not count:
                    raise InputError("became shorter while it was read", path=self.path)
                done += count
        return buffer


def torch_dtype(dtype: str, path: Path, name: str) -> "torch.dtype":
    """Torch's type for a safetensors type.

    Raises:
        InputError: this torch has none.
    """
    import torch

    found = getattr(torch, _TORCH.get(dtype, ""), None)
    if not isinstance(found, torch.dtype):
        raise InputError(f"the tensor {name!r} is of the type {dtype!r}, which cannot be read", path=path)
    return found


def as_bytes(tensor: "torch.Tensor") -> "memoryview[int]":
    """The tensor's bytes as a safetensors file holds them."""
    import torch

    return memoryview(tensor.contiguous().reshape(-1).view(torch.uint8).numpy())  # type: ignore[arg-type]


def bytes_of(dtype: str, shape: tuple[int, ...]) -> int:
    """Bytes that a tensor of one of torch's types and this shape takes."""
    import torch

    found: Any = getattr(torch, _TORCH[dtype])
    return math.prod(shape) * int(found.itemsize)


def write_tensors(
    path: Path,
    tensors: Mapping[str, tuple[str, tuple[int, ...]]],
    pieces: Callable[[str], Iterable[Any]],
) -> None:
    """Write a safetensors file without ever holding more than one piece of it.

    Args:
        path: file to write.
        tensors: type and shape of each tensor by name.
        pieces: gives the bytes of the tensor of a name, in pieces.
    """
    # Wide types first, so that every tensor begins at a multiple of its own width, which torch needs.
    order = sorted(tensors, key=lambda name: -bytes_of(tensors[name][0], ()))
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    position = 0
    for name in order:
        dtype, shape = tensors[name]
        end = position + bytes_of(dtype, shape)
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [position, end]}
        position = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name in order:
            written = sum(file.write(piece) for piece in pieces(name))
            assert written == bytes_of(*tensors[name]), name


def file_sha256(path: Path) -> str:
    """The file's SHA-256 in hexadecimal, read a piece at a time."""
    digest = hashlib.sha256()
    buffer = bytearray(1 << 20)
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            digest.update(memoryview(buffer)[:count])
    return digest.hexdigest()


def same_bytes(one: TensorFile, other: TensorFile, name: str) -> bool:
    """Whether a tensor is the same, byte for byte, in two files."""
    first, second = one.tensors[name], other.tensors[name]
    if (first.dtype, first.shape) != (second.dtype, second.shape):
        return False
    return all(a == b for a, b in zip(one.raw(name), other.raw(name), strict=True))
