"""LoRA adapters as they lie on disk, read without their base.

An adapter is a pair of low-rank factors a module; the update of the module's weight is ``scaling · B @ A``
(Hu et al., LoRA, 2021). Beside them it may hold tensors that were trained in full, such as a classifier's head.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from palladion.errors import InputError
from palladion.models.adapter_config import ADAPTER_CONFIG, AdapterConfig
from palladion.models.model_files import file_in, printable, refuse_pickles
from palladion.models.safetensors_header import TensorInfo
from palladion.models.tensor_files import FLOATS, TensorFile

if TYPE_CHECKING:
    import torch

__all__ = ["ADAPTER_WEIGHTS", "PREFIX", "Adapter", "Pair", "is_adapter"]

ADAPTER_WEIGHTS = "adapter_model.safetensors"
PREFIX = "base_model.model."
"""What PEFT puts before the names of the base's modules."""

_FACTORS = {
    ".lora_A.weight": ("A", False),
    ".lora_B.weight": ("B", False),
    ".lora_embedding_A": ("A", True),
    ".lora_embedding_B": ("B", True),
}
_MOST_TENSORS, _LONGEST_NAME = 100_000, 512
# The update of one module; the largest matrix of a 405B model has 16384 × 53248 elements, its embeddings 2.1e9.
_LARGEST_UPDATE = 1 << 32


@dataclass(frozen=True, slots=True)
class Pair:
    """The factors of one module.

    Attributes:
        a: name of A in the file; A is of shape ``(rank, inputs)``.
        b: name of B in the file; B is of shape ``(outputs, rank)``.
        rank: number of rows of A and of columns of B.
        inputs: of the module; of an embedding, the number of tokens.
        outputs: of the module; of an embedding, its width.
        embedding: the module is an embedding, whose weight is the update's transpose.
        scaling: what B @ A is multiplied by.
    """

    a: str
    b: str
    rank: int
    inputs: int
    outputs: int
    embedding: bool
    scaling: float


@dataclass(frozen=True, slots=True)
class Adapter:
    """A LoRA adapter whose settings and headers have been read; its tensors are read when they are asked for.

    Attributes:
        directory: where it lies.
        config: what its ``adapter_config.json`` says.
        file: its tensors.
        pairs: the factors of each module, by the module's name in the base.
        saved: tensors that replace the base's: name in the file by name in the base.
    """

    directory: Path
    config: AdapterConfig
    file: TensorFile
    pairs: dict[str, Pair]
    saved: dict[str, str]

    @classmethod
    def open(cls, directory: Path) -> "Adapter":
        """Read the settings and the headers of the adapter in this directory.

        Raises:
            InputError: there is none; it is pickled, of a variant that is no plain LoRA, or contradicts itself.
        """
        if not directory.is_dir():
            raise InputError("there is no such directory", path=directory)
        settings = file_in(directory, ADAPTER_CONFIG)
        if settings is None:
            raise InputError(f"holds no {ADAPTER_CONFIG}; is this an adapter?", path=directory)
        config = AdapterConfig.load(settings)
        weights = file_in(directory, ADAPTER_WEIGHTS)
        if weights is None:
            refuse_pickles(directory)
            raise InputError(f"holds no {ADAPTER_WEIGHTS}", path=directory)
        file = TensorFile(weights)
        pairs, saved = _sorted_out(file, config)
        return cls(directory, config, file, pairs, saved)

    @property
    def base_directory(self) -> Path | None:
        """The directory that the adapter names as its base, counted from its own; None where there is none here."""
        if not self.config.base:
            return None
        try:
            found = self.directory.resolve() / self.config.base
            return found.resolve() if found.is_dir() else None
        except (OSError, ValueError, RuntimeError):  # too long, or with a null byte: a name of something else
            return None

    @property
    def parameters(self) -> int:
        """Number of elements of all tensors."""
        return sum(self.file.elements(name) for name in self.file.tensors)

    @property
    def dtypes(self) -> tuple[str, ...]:
        """The types of the tensors, in the order of their names."""
        return tuple(sorted({info.dtype for info in self.file.tensors.values()}))

    @property
    def ranks(self) -> tuple[int, ...]:
        """The ranks that modules have, ascending."""
        return tuple(sorted({pair.rank for pair in self.pairs.values()}))

    def transposed(self, module: str) -> bool:
        """Whether the weight of a module lies with inputs first, so that it is the update's transpose."""
        return self.config.transposed or self.pairs[module].embedding

    def factors(self, module: str) -> "tuple[torch.Tensor, torch.Tensor]":
        """A and B of a module without the scale: float32, or float64 where they are stored so.

        Raises:
            InputError: they hold numbers that are not finite.
        """
        pair = self.pairs[module]
        return self.finite(pair.a), self.finite(pair.b)

    def update(self, module: str) -> "torch.Tensor":
        """The update ``scaling · B @ A`` of one module: float32, of shape ``(outputs, inputs)``.

        Raises:
            InputError: the factors hold numbers that are not finite.
        """
        a, b = (factor.float() for factor in self.factors(module))
        return (b * self.pairs[module].scaling) @ a

    def update_rows(self, module: str) -> "Callable[[int, int], torch.Tensor]":
        """Gives the rows from one to another of what is added to the module's weight, as the base stores it.

        The factors are read once; a row block costs no more memory than itself.
        """
        a, b = (factor.float() for factor in self.factors(module))
        b = b * self.pairs[module].scaling
        left, right = (a.T, b.T) if self.transposed(module) else (b, a)
        return lambda first, last: left[first:last] @ right

    def weight_shape(self, module: str) -> tuple[int, int]:
        """The shape that the module's weight must have in the base."""
        pair = self.pairs[module]
        return (pair.inputs, pair.outputs) if self.transposed(module) else (pair.outputs, pair.inputs)

    def finite(self, name: str) -> "torch.Tensor":
        """A tensor of the file, float32, or float64 where it is stored so.

        Raises:
            InputError: it holds numbers that are not finite.
        """
        tensor = self.file.read(name)
        tensor = tensor if self.file.tensors[name].dtype == "F64" else tensor.float()
        if not tensor.isfinite().all():
            raise InputError(f"the tensor {printable(name)!r} holds numbers that are not finite", path=self.file.path)
        return tensor


def is_adapter(directory: Path) -> bool:
    """Whether a directory is laid out as an adapter."""
    return (directory / ADAPTER_CONFIG).exists()


def _sorted_out(file: TensorFile, config: AdapterConfig) -> tuple[dict[str, Pair], dict[str, str]]:
    """Pairs by module, and tensors that were trained in full by their names in the base."""
    path = file.path
    if len(file.tensors) > _MOST_TENSORS:
        raise InputError(f"holds {len(file.tensors):,} tensors; at most {_MOST_TENSORS:,} are read", path=path)
    halves: dict[str, dict[str, tuple[str, TensorInfo, bool]]] = {}
    saved: dict[str, str] = {}
    for name, info in file.tensors.items():
        if len(name) > _LONGEST_NAME or not name.startswith(PREFIX):
            raise InputError(
                f"holds the tensor {printable(name)!r}; the names of an adapter's tensors begin with {PREFIX}",
                path=path,
            )
        if info.dtype not in FLOATS:
            raise InputError(
                f"the tensor {printable(name)!r} is of the type {printable(info.dtype)}; {', '.join(FLOATS)} are read",
                path=path,
            )
        short = name.removeprefix(PREFIX)
        ending = next((ending for ending in _FACTORS if short.endswith(ending)), None)
        if ending is not None:
            half, embedding = _FACTORS[ending]
            halves.setdefault(short.removesuffix(ending), {})[half] = (name, info, embedding)
        elif "lora_" in short:
            raise InputError(f"the tensor {printable(name)!r} is no part of a plain LoRA adapter", path=path)
        else:
            # PEFT keeps the weight of an adapted embedding under this name.
            replaced = short.replace(".base_layer.", ".")
            if replaced in saved:
                raise InputError(f"holds the tensor {printable(replaced)!r} twice", path=path)
            saved[replaced] = name
    if not halves and not saved:
        raise InputError("holds no tensors", path=path)
    return {module: _pair(module, halves[module], config, path) for module in sorted(halves)}, saved


def _pair(module: str, halves: Mapping[str, tuple[str, TensorInfo, bool]], config: AdapterConfig, path: Path) -> Pair:
    shown = printable(module)
    if set(halves) != {"A", "B"} or halves["A"][2] != halves["B"][2]:
        raise InputError(f"the module {shown!r} has but one of its two factors", path=path)
    (a, a_info, embedding), (b, b_info, _) = halves["A"], halves["B"]
    if len(a_info.shape) != 2 or len(b_info.shape) != 2 or 0 in (*a_info.shape, *b_info.shape):
        raise InputError(
            f"the factors of {shown!r} are of the shapes {a_info.shape} and {b_info.shape}; only matrices are read",
            path=path,
        )
    (rank, inputs), (outputs, columns) = a_info.shape, b_info.shape
    if rank != columns:
        raise InputError(f"the factors of {shown!r} are of the shapes {a_info.shape} and {b_info.shape}", path=path)
    if rank != config.rank_of(module):
        raise InputError(
            f"the factors of {shown!r} are of rank {rank}; {ADAPTER_CONFIG} says {config.rank_of(module)}", path=path
        )
    if inputs * outputs > _LARGEST_UPDATE:
        raise InputError(f"the update of {shown!r} would have {inputs * outputs:,} elements", path=path)
    return Pair(a, b, rank, inputs, outputs, embedding, config.scaling_of(module))
