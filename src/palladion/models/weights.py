"""The weights of a Hugging Face directory: which tensor lies in which file, without reading any of them.

``model.safetensors``, or shards beside a ``model.safetensors.index.json``. The index, the shards on disk and the
tensors in them must agree exactly; every fault is told.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from palladion.errors import InputError
from palladion.models.model_files import file_in, printable, read_json, refuse_pickles
from palladion.models.safetensors_header import TensorInfo
from palladion.models.tensor_files import TensorFile

__all__ = ["INDEX", "SINGLE", "Weights"]

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"

_MAXIMUM_INDEX_BYTES = 64 << 20
_MAXIMUM_SHARDS = 1000
_SHARD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,200}\.safetensors")
_SHARD_OF_MODEL = re.compile(r"model-[0-9]+-of-[0-9]+\.safetensors")
_MOST_FAULTS = 20


@dataclass(frozen=True, slots=True)
class Weights:
    """The tensors of a model.

    Attributes:
        directory: where the model lies.
        shards: the files with tensors, in the order of their names.
        places: the file of each tensor by name.
    """

    directory: Path
    shards: tuple[TensorFile, ...]
    places: dict[str, TensorFile]

    @classmethod
    def open(cls, directory: Path) -> "Weights":
        """Find the tensors of the model in this directory; only headers are read.

        Raises:
            InputError: there are no weights in safetensors, or files and index contradict each other; every fault.
        """
        if not directory.is_dir():
            raise InputError("there is no such directory", path=directory)
        single, index = file_in(directory, SINGLE), file_in(directory, INDEX)
        if single and index:
            raise InputError(f"holds both {SINGLE} and {INDEX}; which of them is the model?", path=directory)
        if index:
            return _sharded(directory, index)
        if single is None:
            refuse_pickles(directory)
            raise InputError(f"holds no weights ({SINGLE}, or {INDEX} and its shards)", path=directory)
        file = TensorFile(single)
        return cls(directory, (file,), dict.fromkeys(file.tensors, file))

    def info(self, name: str) -> TensorInfo:
        """Type, shape and place of a tensor."""
        return self.places[name].tensors[name]

    @property
    def parameters(self) -> int:
        """Number of elements of all tensors."""
        return sum(file.elements(name) for name, file in self.places.items())

    @property
    def dtypes(self) -> dict[str, int]:
        """Number of elements of each type, the most frequent type first."""
        counts: dict[str, int] = {}
        for name, file in self.places.items():
            dtype = file.tensors[name].dtype
            counts[dtype] = counts.get(dtype, 0) + file.elements(name)
        return dict(sorted(counts.items(), key=lambda item: -item[1]))


def _sharded(directory: Path, index: Path) -> Weights:
    mapping = read_json(index, most_bytes=_MAXIMUM_INDEX_BYTES).get("weight_map")
    if not isinstance(mapping, dict) or not mapping:
        raise InputError("has no weight_map", path=index)
    for name, shard in mapping.items():
        if not isinstance(shard, str) or not _SHARD.fullmatch(shard):
            raise InputError(
                f"places the tensor {printable(name)!r} in {printable(str(shard))!r}, which is no name of a shard",
                path=index,
            )
    names = sorted(set(mapping.values()))
    if len(names) > _MAXIMUM_SHARDS:
        raise InputError(f"names {len(names)} shards; at most {_MAXIMUM_SHARDS} are read", path=index)
    faults = [
        f"{directory / name}: is not in {INDEX}"
        for name in sorted(path.name for path in directory.iterdir())
        if _SHARD_OF_MODEL.fullmatch(name) and name not in names
    ]
    files: dict[str, TensorFile] = {}
    for name in names:
        try:
            path = file_in(directory, name)
            if path is None:
                raise InputError(f"is missing; {INDEX} names it", path=directory / name)
            files[name] = TensorFile(path)
        except InputError as error:
            faults.append(str(error))
    wanted: dict[str, set[str]] = {name: set() for name in names}
    for tensor, shard in mapping.items():
        wanted[shard].add(tensor)
    for name, file in files.items():
        held = set(file.tensors)
        absent, strange = sorted(wanted[name] - held), sorted(held - wanted[name])
        if absent:
            faults.append(f"{file.path}: lacks {_some(absent)}, which {INDEX} places there")
        if strange:
            faults.append(f"{file.path}: holds {_some(strange)}, which {INDEX} does not place there")
    if faults:
        more = [f"… and {len(faults) - _MOST_FAULTS} more faults"] if len(faults) > _MOST_FAULTS else []
        raise InputError("\n".join([*faults[:_MOST_FAULTS], *more]))
    return Weights(directory, tuple(files[name] for name in names), {name: files[mapping[name]] for name in mapping})


def _some(names: list[str]) -> str:
    shown = ", ".join(printable(name, 80) for name in names[:3])
    return f"{len(names)} tensors ({shown}{', …' if len(names) > 3 else ''})" if len(names) > 1 else shown
