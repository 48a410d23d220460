"""What an ``adapter_config.json`` says: the plain LoRA of PEFT, and by name what is none.

The update of a weight is exactly ``scaling · B @ A`` only for plain LoRA. Variants in which it is something else, or in
which loading the adapter changes the base (PiSSA, LoftQ and others), are refused.
"""

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from palladion.errors import InputError
from palladion.models.model_files import printable, read_json

__all__ = ["ADAPTER_CONFIG", "AdapterConfig"]

ADAPTER_CONFIG = "adapter_config.json"

_MOST_PATTERNS = 4096
_NAME_OF_MODULES = re.compile(r"\^?[\w.-]{1,512}")
_LARGEST_RANK = 65_536
_LONGEST_TEXT = 1000
# Settings that make the update something else than scaling · B @ A, and what PEFT calls each.
_VARIANTS = {
    "use_dora": "DoRA",
    "use_qalora": "QA-LoRA",
    "use_bdlora": "BD-LoRA",
    "lora_bias": "biases of lora_B",
    "alora_invocation_tokens": "aLoRA",
    "arrow_config": "Arrow",
    "kasa_config": "KaSA",
    "velora_config": "VeLoRA",
    "monteclora_config": "MonteCLoRA",
    "lora_ga_config": "LoRA-GA",
    "layer_replication": "replicated layers",
    "target_parameters": "target_parameters",
    "trainable_token_indices": "trainable tokens",
}
# Initialisations that leave the base as it is. After others the adapter only fits a base that was changed.
_INITIALISATIONS = {"gaussian", "eva", "orthogonal", "mica"}


@dataclass(frozen=True, slots=True)
class AdapterConfig:
    """The settings of a plain LoRA adapter.

    Attributes:
        base: name or path of the base model; None where the file does not say.
        task_type: PEFT's name of the task, such as ``CAUSAL_LM`` or ``SEQ_CLS``; None where the file does not say.
        rank: the rank of modules that no pattern names.
        alpha: the scale's numerator of modules that no pattern names.
        rank_stabilised: the scale is alpha / √rank (rsLoRA) in place of alpha / rank.
        rank_pattern: rank by the end of modules' names; ``^`` before a whole name.
        alpha_pattern: alpha by the end of modules' names; ``^`` before a whole name.
        target_modules: names, or one regular expression, of the modules that were adapted.
        modules_to_save: names of the modules that were trained in full.
        transposed: the weights lie with inputs first (``fan_in_fan_out``), as GPT-2's.
        dropout: of the training.
        limited_to_layers: the modules are only some of those that ``target_modules`` names.
    """

    base: str | None
    task_type: str | None
    rank: int
    alpha: float
    rank_stabilised: bool
    rank_pattern: dict[str, int]
    alpha_pattern: dict[str, float]
    target_modules: tuple[str, ...] | str
    modules_to_save: tuple[str, ...]
    transposed: bool
    dropout: float
    limited_to_layers: bool

    @classmethod
    def load(cls, path: Path) -> "AdapterConfig":
        """Read ``adapter_config.json``.

        Raises:
            InputError: it cannot be read, is none, or is of a variant that is no plain LoRA.
        """
        reader = _Reader(read_json(path), path)
        kind = reader.text("peft_type")
        if kind != "LORA":
            raise InputError(f"is of the kind {printable(str(kind))}; only LORA adapters are read", path=path)
        reader.refuse_variants()
        ranks, alphas = reader.patterns("rank_pattern"), reader.patterns("alpha_pattern")
        targets = reader.data.get("target_modules")
        return cls(
            base=reader.text("base_model_name_or_path"),
            task_type=reader.text("task_type"),
            rank=reader.rank(reader.data.get("r", 8), "r"),
            alpha=reader.number(reader.data.get("lora_alpha", 8), "lora_alpha"),
            rank_stabilised=reader.flag("use_rslora"),
            rank_pattern={name: reader.rank(value, "rank_pattern") for name, value in ranks.items()},
            alpha_pattern={name: reader.number(value, "alpha_pattern") for name, value in alphas.items()},
            target_modules=targets[:_LONGEST_TEXT] if isinstance(targets, str) else reader.names("target_modules"),
            modules_to_save=reader.names("modules_to_save"),
            transposed=reader.flag("fan_in_fan_out"),
            dropout=reader.number(reader.data.get("lora_dropout", 0.0), "lora_dropout"),
            limited_to_layers=any(reader.data.get(key) for key in ("layers_pattern", "exclude_modules"))
            or reader.data.get("layers_to_transform") is not None,
        )

    def rank_of(self, module: str) -> int:
        """The rank that the settings give a module."""
        found = _of_module(self.rank_pattern, module)
        return self.rank if found is None else int(found)

    def scaling_of(self, module: str) -> float:
        """What B @ A is multiplied by for a module."""
        rank, found = self.rank_of(module), _of_module(self.alpha_pattern, module)
        alpha = self.alpha if found is None else float(found)
        return alpha / (math.sqrt(rank) if self.rank_stabilised else rank)


class _Reader:
    def __init__(self, data: dict[str, Any], path: Path) -> None:
        self.data, self.path = data, path

    def refuse_variants(self) -> None:
        found = [name for key, name in _VARIANTS.items() if self.data.get(key)]
        if self.data.get("bias", "none") != "none":
            found.append("trained biases")
        init = self.data.get("init_lora_weights", True)
        if init is not None and not isinstance(init, bool) and str(init).lower() not in _INITIALISATIONS:
            found.append(f"the initialisation {printable(str(init), 40)}, which changes the base")
        if found:
            raise InputError(
                f"uses {', '.join(found)}; only plain LoRA is read, whose update is scaling · B @ A", path=self.path
            )

    def text(self, key: str) -> str | None:
        value = self.data.get(key)
        if value is None:
            return None
        if not isinstance(value, str) or len(value) > _LONGEST_TEXT:
            raise InputError(f"{key} must be a text of at most {_LONGEST_TEXT} characters", path=self.path)
        return value

    def flag(self, key: str) -> bool:
        value = self.data.get(key)
        if value is not None and not isinstance(value, bool):
            raise InputError(f"{key} must be true or false", path=self.path)
        return bool(value)

    def rank(self, value: Any, key: str) -> int:
        if type(value) is not int or not 0 < value <= _LARGEST_RANK:
            raise InputError(f"{key} must hold whole numbers from 1 to {_LARGEST_RANK:,}", path=self.path)
        return value

    def number(self, value: Any, key: str) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= 1e9:
            raise InputError(f"{key} must hold numbers of at most 1e9", path=self.path)
        return float(value)

    def names(self, key: str) -> tuple[str, ...]:
        value = self.data.get(key) or []
        if not isinstance(value, list) or not all(
            isinstance(name, str) and len(name) <= _LONGEST_TEXT for name in value
        ):
            raise InputError(f"{key} must be a list of names", path=self.path)
        return tuple(value)

    def patterns(self, key: str) -> dict[str, Any]:
        value = self.data.get(key) or {}
        if not isinstance(value, dict) or len(value) > _MOST_PATTERNS:
            raise InputError(f"{key} must be an object of at most {_MOST_PATTERNS} names", path=self.path)
        names = {}
        for pattern, number in value.items():
            name = pattern.replace("\\.", ".")
            # PEFT takes them for regular expressions. Those of a stranger may run for ever.
            if not _NAME_OF_MODULES.fullmatch(name):
                raise InputError(
                    f"{key} has {printable(pattern, 60)!r}; names of modules are read, with ^ before a whole name, "
                    "but no other regular expressions",
                    path=self.path,
                )
            names[name] = number
        return names


def _of_module(patterns: dict[str, Any], module: str) -> Any:
    """PEFT's rule: the first name that the module's ends with, at the beginning of a part of it; None without one."""
    parts = module.split(".")
    ends = [".".join(parts[first:]) for first in range(len(parts))]
    found = {end for end in (f"^{module}", *ends) if end in patterns}
    return next((patterns[name] for name in patterns if name in found), None) if found else None
