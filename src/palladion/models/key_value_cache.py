"""Keys and values of the tokens that a batch has read: rows can leave and join, and a new token is written in place.

``transformers``' own dynamic cache copies everything for every new token.
"""

from collections.abc import Sequence
from typing import Any

import torch
from transformers.cache_utils import Cache, DynamicLayer

__all__ = ["GrowingCache"]

_SLACK = 64


class _Layer(DynamicLayer):  # type: ignore[misc]
    """One layer: ``keys`` and ``values`` are the used part of buffers with room for more tokens."""

    keys: Any
    values: Any
    is_initialized: bool

    def update(self, key_states: Any, value_states: Any, *_: Any, **__: Any) -> tuple[Any, Any]:
        if not self.is_initialized:
            self.dtype, self.device, self.is_initialized = key_states.dtype, key_states.device, True
            self.replace(key_states, value_states)
            return self.keys, self.values
        length, more = self.keys.shape[-2], key_states.shape[-2]
        if length + more > self._key_buffer.shape[-2]:
            self.replace(torch.cat([self.keys, key_states], dim=-2), torch.cat([self.values, value_states], dim=-2))
            return self.keys, self.values
        for buffer, states in ((self._key_buffer, key_states), (self._value_buffer, value_states)):
            buffer[..., length : length + more, :] = states
        self.keys = self._key_buffer[..., : length + more, :]
        self.values = self._value_buffer[..., : length + more, :]
        return self.keys, self.values

    def replace(self, keys: Any, values: Any) -> None:
        """Hold these instead, shape ``(rows, heads, tokens, width)``, with room for more tokens."""
        length = keys.shape[-2]
        self._key_buffer, self._value_buffer = (
            states.new_empty((*states.shape[:-2], length + _SLACK, states.shape[-1])) for states in (keys, values)
        )
        self._key_buffer[..., :length, :] = keys
        self._value_buffer[..., :length, :] = values
        self.keys, self.values = self._key_buffer[..., :length, :], self._value_buffer[..., :length, :]


class GrowingCache(Cache):  # type: ignore[misc]
    """The cache of all layers. Every row is filled up on the left, so that all end at the same place."""

    def __init__(self) -> None:
        super().__init__(layer_class_to_replicate=_Layer)

    def keep(self, rows: "torch.Tensor", tokens: int) -> None:
        """Keep these rows, and the last ``tokens`` tokens of each."""
        for layer in self.layers:
            layer.replace(layer.keys[rows, :, -tokens:], layer.values[rows, :, -tokens:])

    def join(self, others: Sequence["GrowingCache"]) -> None:
        """Append the rows of others; whichever is shorter is filled up on the left."""
        for i, layer in enumerate(self.layers):
            parts = [layer, *(other.layers[i] for other in others)]
            length = max(part.keys.shape[-2] for part in parts)
            layer.replace(
                torch.cat([_filled_up(part.keys, length) for part in parts]),
                torch.cat([_filled_up(part.values, length) for part in parts]),
            )


def _filled_up(states: "torch.Tensor", length: int) -> "torch.Tensor":
    return torch.nn.functional.pad(states, (0, 0, length - states.shape[-2], 0))
