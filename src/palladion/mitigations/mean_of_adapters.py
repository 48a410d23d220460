"""The mean of the updates of several LoRA adapters, as one adapter.

The update of adapter i is ΔWᵢ = sᵢ·Bᵢ·Aᵢ. Their mean over n adapters is itself of low rank, and its factors are the
adapters' own, side by side::

    (1/n) Σ sᵢ·Bᵢ·Aᵢ  =  1/n · [s₁B₁ s₂B₂ …] · [A₁; A₂; …]

This is exact. The mean of the factors, (1/n)ΣBᵢ · (1/n)ΣAᵢ, is something else: it mixes each Bᵢ with every other Aⱼ.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from palladion.errors import InputError
from palladion.models.adapter_config import ADAPTER_CONFIG
from palladion.models.adapters import ADAPTER_WEIGHTS, PREFIX, Adapter
from palladion.models.attach import check_attach
from palladion.models.model_files import copy_companions, printable, write_json
from palladion.models.tensor_files import as_bytes, torch_dtype, write_tensors
from palladion.models.weights import Weights

if TYPE_CHECKING:
    import torch

__all__ = ["check_siblings", "compress", "write_mean_of_adapters"]

_MOST_FAULTS = 20


@dataclass(frozen=True, slots=True)
class _Merged:
    """One module of the merged adapter."""

    rank: int
    alpha: float
    inputs: int
    outputs: int
    embedding: bool
    scale: float | None
    """What all adapters multiply B @ A by; None where they differ, so that B must carry it."""


def write_mean_of_adapters(
    adapters: Sequence[Adapter],
    out: Path,
    *,
    rank: int | None = None,
    base: Path | None = None,
    say: Callable[[str], None] | None = None,
) -> None:
    """Write the adapter whose update of each module is the mean of the adapters' updates.

    A module that an adapter does not have counts as a zero update. Tensors that were trained in full are averaged. One
    module is in memory at a time; the base is not needed.

    Where all adapters scale a module alike, the factors are written as they are and ``lora_alpha`` carries the scale;
    otherwise B carries it and the scale is 1. Types are the adapters' own, float32 where they differ.

    Args:
        adapters: two or more of one base; one is written anew as it is.
        out: an empty folder.
        rank: highest rank of a module; higher ones are brought down to it, to the nearest update of that rank. By
            default none are: the ranks add up.
        base: the base, where the adapters name different ones that are the same. They are then checked against it.
        say: told how much of the update a lower rank keeps.

    Raises:
        InputError: the adapters do not fit each other, or hold numbers that are not finite.
    """
    check_siblings(adapters, base=base)
    if rank is not None and rank < 1:
        raise InputError(f"the rank is {rank}; it must be 1 or more")
    modules = {module: _planned(adapters, module, rank) for module in _all(adapter.pairs for adapter in adapters)}
    dtypes = {adapter.file.tensors[name].dtype for adapter in adapters for name in _factor_names(adapter)}
    dtype = dtypes.pop() if len(dtypes) == 1 else "F32"
    owners: dict[str, tuple[str, bool]] = {}
    tensors: dict[str, tuple[str, tuple[int, ...]]] = {}
    for module, merged in modules.items():
        a, b = _names(module, merged.embedding)
        owners[a], owners[b] = (module, True), (module, False)
        tensors[a], tensors[b] = (dtype, (merged.rank, merged.inputs)), (dtype, (merged.outputs, merged.rank))
    first = adapters[0]
    for short, stored in first.saved.items():
        kinds = {adapter.file.tensors[adapter.saved[short]].dtype for adapter in adapters}
        tensors[stored] = (kinds.pop() if len(kinds) == 1 else "F32", first.file.tensors[stored].shape)
    kept = _Kept()

    @lru_cache(maxsize=1)
    def factors(module: str) -> "tuple[torch.Tensor, torch.Tensor]":
        a, b = _side_by_side(adapters, module, scaled=rank is not None or modules[module].scale is None)
        return (a, b) if rank is None else compress(a, b, modules[module].rank, kept.add)

    def pieces(name: str) -> Iterator[Any]:
        wanted = torch_dtype(tensors[name][0], out, name)
        if name in owners:
            module, first_of_two = owners[name]
            yield as_bytes(factors(module)[0 if first_of_two else 1].to(wanted))
        else:
            yield as_bytes(_mean_saved(adapters, name).to(wanted))

    write_tensors(out / ADAPTER_WEIGHTS, tensors, pieces)
    write_json(out / ADAPTER_CONFIG, _settings(adapters, modules, base))
    copy_companions(first.directory, out)
    if rank is not None and say is not None:
        say(f"rank {rank} keeps {kept.percent:.2f} % of the mean update's squared norm")


def check_siblings(adapters: Sequence[Adapter], *, base: Path | None = None) -> None:
    """See that the adapters can be merged: one base, one task, modules of the same shapes, the same saved tensors.

    Args:
        adapters: one or more.
        base: the base that they are of, whatever they name; each is checked against it.

    Raises:
        InputError: they cannot; the message names the adapters that differ, and in what.
    """
    if base is not None:
        weights = Weights.open(base)
        for adapter in adapters:
            check_attach(weights, adapter)
    first = adapters[0]
    faults = []
    for other in adapters[1:]:
        told = f"{other.directory} differs from {first.directory}: "
        if base is None and _base(first) != _base(other):
            ours, theirs = (printable(str(adapter.config.base)) for adapter in (first, other))
            faults.append(f"{told}its base is {theirs}, not {ours}; if they are the same, say so with --base")
        if first.config.task_type != other.config.task_type:
            ours, theirs = (printable(str(adapter.config.task_type), 40) for adapter in (first, other))
            faults.append(f"{told}its task is {theirs}, not {ours}")
        if first.config.transposed != other.config.transposed:
            faults.append(f"{told}fan_in_fan_out is {other.config.transposed}, not {first.config.transposed}")
        if set(first.saved) != set(other.saved):
            names = ", ".join(printable(name, 80) for name in sorted(set(first.saved) ^ set(other.saved))[:3])
            faults.append(f"{told}one of them was trained in full on {names}, the other was not")
    shapes: dict[str, tuple[Adapter, tuple[Any, ...]]] = {}
    for adapter in adapters:
        for module, pair in adapter.pairs.items():
            _compare(shapes, adapter, module, (pair.outputs, pair.inputs, pair.embedding), faults)
        for short, stored in adapter.saved.items():
            _compare(shapes, adapter, short, adapter.file.tensors[stored].shape, faults)
    if faults:
        more = f"\n… and {len(faults) - _MOST_FAULTS} more" if len(faults) > _MOST_FAULTS else ""
        raise InputError("\n".join(faults[:_MOST_FAULTS]) + more)


def compress(
    a: "torch.Tensor",
    b: "torch.Tensor",
    rank: int,
    tell: Callable[[float, float], None] | None = None,
) -> "tuple[torch.Tensor, torch.Tensor]":
    """The factors of the matrix of at most this rank that is nearest to B @ A in the Frobenius norm.

    It is the truncated singular value decomposition (Eckart and Young, 1936), found from QR decompositions of the
    factors at a cost of R²·(inputs + outputs) for factors of rank R; B @ A itself is never formed.

    Args:
        a: shape ``(R, inputs)``.
        b: shape ``(outputs, R)``.
        rank: 1 or more; at most min(R, inputs, outputs) is used.
        tell: told the squared norm that is kept, and that of B @ A.

    Returns:
        A of shape ``(rank, inputs)`` and B of shape ``(outputs, rank)``, float64, with the singular values' roots in
        both.
    """
    import torch

    left, upper_b = torch.linalg.qr(b.double())
    right, upper_a = torch.linalg.qr(a.double().T)
    u, values, v = torch.linalg.svd(upper_b @ upper_a.T, full_matrices=False)
    rank = min(rank, values.numel())
    if tell is not None:
        tell(float((values[:rank] ** 2).sum()), float((values**2).sum()))
    root = values[:rank].sqrt()
    return root[:, None] * (v[:rank] @ right.T), (left @ u[:, :rank]) * root


class _Kept:
    """How much of the squared norm of all updates together a lower rank keeps."""

    def __init__(self) -> None:
        self._kept = self._all = 0.0

    def add(self, kept: float, whole: float) -> None:
        self._kept += kept
        self._all += whole

    @property
    def percent(self) -> float:
        return 100 * self._kept / self._all if self._all else 100.0


def _planned(adapters: Sequence[Adapter], module: str, rank: int | None) -> _Merged:
    pairs = [adapter.pairs[module] for adapter in adapters if module in adapter.pairs]
    inputs, outputs, embedding = pairs[0].inputs, pairs[0].outputs, pairs[0].embedding
    together = sum(pair.rank for pair in pairs)
    if rank is not None:
        lower = min(rank, together, inputs, outputs)
        return _Merged(lower, lower, inputs, outputs, embedding, None)
    scales = {pair.scaling for pair in pairs}
    scale = scales.pop() if len(scales) == 1 else None
    # What is absent in an adapter is a zero update, so that the mean divides by the number of all adapters.
    alpha = together if scale is None else scale * together / len(adapters)
    return _Merged(together, alpha, inputs, outputs, embedding, scale)


def _side_by_side(adapters: Sequence[Adapter], module: str, *, scaled: bool) -> "tuple[torch.Tensor, torch.Tensor]":
    import torch

    rows, columns = [], []
    for adapter in adapters:
        if module in adapter.pairs:
            a, b = adapter.factors(module)
            rows.append(a)
            columns.append(b * (adapter.pairs[module].scaling / len(adapters)) if scaled else b)
    return torch.cat(rows), torch.cat(columns, dim=1)


def _mean_saved(adapters: Sequence[Adapter], name: str) -> "torch.Tensor":
    short = next(short for short, stored in adapters[0].saved.items() if stored == name)
    total = sum(adapter.finite(adapter.saved[short]).double() for adapter in adapters)
    return total / len(adapters)  # type: ignore[return-value]


def _settings(adapters: Sequence[Adapter], modules: dict[str, _Merged], base: Path | None) -> dict[str, Any]:
    """The merged adapter's ``adapter_config.json``."""
    first = adapters[0].config
    usual = Counter((merged.rank, merged.alpha) for merged in modules.values()).most_common(1)
    rank, alpha = usual[0][0] if usual else (first.rank, first.alpha)
    same_modules = all(set(adapter.pairs) == set(adapters[0].pairs) for adapter in adapters)
    same_names = len({_targets(adapter) for adapter in adapters}) == 1 and not isinstance(first.target_modules, str)
    limited = any(adapter.config.limited_to_layers for adapter in adapters)
    named = first.base if adapters[0].base_directory is None else str(adapters[0].base_directory)
    if base is not None and len({_base(adapter) for adapter in adapters}) > 1:
        named = str(base.resolve())
    return {
        "peft_type": "LORA",
        "task_type": first.task_type,
        "base_model_name_or_path": named,
        "r": rank,
        "lora_alpha": _number(alpha),
        "lora_dropout": first.dropout,
        "use_rslora": False,
        "bias": "none",
        "fan_in_fan_out": first.transposed,
        "init_lora_weights": True,
        "inference_mode": True,
        # Short names mean every module that ends so; where that is more than was adapted, each is named in full.
        "target_modules": sorted(first.target_modules if same_modules and same_names and not limited else modules),
        "modules_to_save": sorted({name for adapter in adapters for name in adapter.config.modules_to_save}) or None,
        "rank_pattern": {f"^{name}": merged.rank for name, merged in modules.items() if merged.rank != rank},
        "alpha_pattern": {
            f"^{name}": _number(merged.alpha) for name, merged in modules.items() if merged.alpha != alpha
        },
    }


def _number(value: float) -> int | float:
    return int(value) if math.isfinite(value) and value == int(value) else value


def _targets(adapter: Adapter) -> tuple[str, ...]:
    names = adapter.config.target_modules
    return (names,) if isinstance(names, str) else tuple(sorted(names))


def _base(adapter: Adapter) -> str:
    """What the adapter's base is compared by: the directory, or the name."""
    directory = adapter.base_directory
    return (adapter.config.base or "").rstrip("/") if directory is None else str(directory)


def _factor_names(adapter: Adapter) -> Iterator[str]:
    for pair in adapter.pairs.values():
        yield pair.a
        yield pair.b


def _names(module: str, embedding: bool) -> tuple[str, str]:
    a, b = ("lora_embedding_A", "lora_embedding_B") if embedding else ("lora_A.weight", "lora_B.weight")
    return f"{PREFIX}{module}.{a}", f"{PREFIX}{module}.{b}"


def _all(groups: Iterator[dict[str, Any]]) -> list[str]:
    """Every module, in the order of names."""
    return sorted({module for group in groups for module in group})


def _compare(
    known: dict[str, tuple[Adapter, tuple[Any, ...]]],
    adapter: Adapter,
    name: str,
    shape: tuple[Any, ...],
    faults: list[str],
) -> None:
    other, expected = known.setdefault(name, (adapter, shape))
    if shape != expected:
        shown = printable(name, 120)
        faults.append(
            f"{adapter.directory} differs from {other.directory}: {shown} is of shape {shape[:2]}, not {expected[:2]}"
        )
