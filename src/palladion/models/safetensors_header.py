"""Read the header of a safetensors file without loading it, and refuse a file that contradicts itself.

The format: eight bytes with the header's length, the header as JSON, the tensors' bytes back to back
(https://huggingface.co/docs/safetensors).
"""

import json
import struct
from dataclasses import dataclass
from pathlib import Path

from palladion.errors import InputError

__all__ = ["TensorInfo", "read_header"]

_MAXIMUM_HEADER = 100_000_000
_BYTES = {
    "BOOL": 1,
    "U8": 1,
    "I8": 1,
    "F8_E4M3": 1,
    "F8_E5M2": 1,
    "I16": 2,
    "U16": 2,
    "F16": 2,
    "BF16": 2,
    "I32": 4,
    "U32": 4,
    "F32": 4,
    "I64": 8,
    "U64": 8,
    "F64": 8,
}


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """Type, shape and place of one tensor; offsets count from the first byte after the header."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


def read_header(path: Path) -> dict[str, TensorInfo]:
    """The tensors of a safetensors file by name.

    Raises:
        InputError: the file is cut off, is none, or its tensors do not fill it exactly.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            start = file.read(8)
            if len(start) < 8:
                raise InputError("is too short to be a safetensors file", path=path)
            (length,) = struct.unpack("<Q", start)
            if length > min(size - 8, _MAXIMUM_HEADER):
                raise InputError("is cut off, or is not a safetensors file", path=path)
            header = json.loads(file.read(length))
    except (UnicodeDecodeError, ValueError, RecursionError):
        raise InputError("has a header that is not JSON; it is not a safetensors file", path=path) from None
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", path=path) from None
    if not isinstance(header, dict):
        raise InputError("has a header that is not an object", path=path)
    tensors = {name: _tensor(path, name, entry) for name, entry in header.items() if name != "__metadata__"}
    position = 0
    for name, tensor in sorted(tensors.items(), key=lambda item: (item[1].begin, item[1].end)):
        if tensor.begin != position:
            raise InputError(f"the tensor {name!r} overlaps another or leaves a gap", path=path)
        position = tensor.end
    if 8 + length + position != size:
        raise InputError("is cut off, or longer than its tensors", path=path)
    return tensors


def _tensor(path: Path, name: str, entry: object) -> TensorInfo:
    try:
        assert isinstance(entry, dict)
        dtype, shape = str(entry["dtype"]), tuple(entry["shape"])
        begin, end = entry["data_offsets"]
        count = 1
        for extent in shape:
            assert type(extent) is int
            assert extent >= 0
            count *= extent
        assert type(begin) is int
        assert type(end) is int
        assert 0 <= begin <= end
        if dtype in _BYTES:
            assert end - begin == count * _BYTES[dtype]
    except (AssertionError, KeyError, TypeError, ValueError):
        raise InputError(f"the tensor {name!r} has a type, a shape and a place that do not fit", path=path) from None
    return TensorInfo(dtype, shape, begin, end)
