"""Put an adapter on a network in memory, and take it off again without a trace.

Every weight that changes is replaced by another tensor and kept; taking the adapter off puts the kept ones back. Where
the weights are quantised or of low precision, the factors work beside them: the module's output plus
``scaling · x Aᵀ Bᵀ`` in float32, as PEFT computes it.
"""

from typing import TYPE_CHECKING, Any

from palladion.errors import InputError
from palladion.models.adapters import Adapter
from palladion.models.model_files import printable

if TYPE_CHECKING:
    import torch

__all__ = ["Attachment"]


class Attachment:
    """What is on a network beside its own weights.

    Args:
        network: a model of ``transformers``.
    """

    def __init__(self, network: Any) -> None:
        self._network = network
        self._kept: list[tuple[Any, str, Any]] = []
        self._hooks: list[Any] = []

    def add_adapter(self, adapter: Adapter, *, merged: bool) -> None:
        """Add the updates of an adapter, and put its tensors that were trained in full in place of the network's.

        Args:
            adapter: its tensors are read now.
            merged: add the updates to the weights; else the factors work beside them.

        Raises:
            InputError: it does not fit the network.
        """
        for name in adapter.saved:
            self._replace_saved(adapter, name)
        for module_name in adapter.pairs:
            module = self._module(adapter, module_name)
            if merged:
                self._merge(adapter, module_name, module)
            else:
                self._hook(adapter, module_name, module)

    def extend_vocabulary(self, size: int) -> None:
        """Give tokens that the network has no row for the mean of the rows that it has."""
        import torch

        given, put_out = self._network.get_input_embeddings(), self._network.get_output_embeddings()
        tied = put_out is not None and put_out.weight is given.weight
        for module in (given, put_out):
            if module is None or module.weight.shape[0] >= size:
                continue
            if module is put_out and tied:
                self._put(module, "weight", given.weight)
                continue
            weight = module.weight.detach()
            mean = weight.float().mean(dim=0, keepdim=True).to(weight.dtype)
            self._put(module, "weight", torch.cat([weight, mean.expand(size - weight.shape[0], -1)]))
            bias = getattr(module, "bias", None)
            if bias is not None:
                more = bias.detach().float().mean().to(bias.dtype).expand(size - bias.shape[0])
                self._put(module, "bias", torch.cat([bias.detach(), more]))

    def remove(self) -> None:
        """Make the network what it was."""
        while self._kept:
            module, name, tensor = self._kept.pop()
            setattr(module, name, tensor)
        while self._hooks:
            self._hooks.pop().remove()

    def _put(self, module: Any, name: str, tensor: "torch.Tensor") -> None:
        import torch

        self._kept.append((module, name, getattr(module, name)))
        parameter = (
            tensor if isinstance(tensor, torch.nn.Parameter) else torch.nn.Parameter(tensor, requires_grad=False)
        )
        setattr(module, name, parameter)

    def _replace_saved(self, adapter: Adapter, name: str) -> None:
        module_name, _, kind = name.rpartition(".")
        module = self._find(module_name)
        current = getattr(module, kind, None) if kind in ("weight", "bias") else None
        if current is None:
            raise _misfit(adapter, f"holds '{printable(name, 100)}', which the base has not")
        tensor = adapter.file.read(adapter.saved[name])
        if not tensor.isfinite().all():
            raise InputError(f"'{printable(name, 100)}' holds numbers that are not finite", path=adapter.file.path)
        # The rows of a head are labels, those of embeddings tokens: an adapter may have its own number of them.
        given, put_out = self._network.get_input_embeddings(), self._network.get_output_embeddings()
        free = module in (given, put_out) or module_name.split(".")[0] in ("score", "classifier")
        if tensor.shape[1:] != current.shape[1:] or (not free and tensor.shape != current.shape):
            raise _misfit(
                adapter, f"{printable(name, 100)} is of shape {_shape(tensor)}, the base's of {_shape(current)}"
            )
        if not current.is_floating_point():
            raise _misfit(adapter, f"replaces '{printable(name, 100)}', which is quantised; open it without --bits")
        tensor = tensor.to(device=current.device, dtype=current.dtype)
        tied = put_out is not None and put_out.weight is given.weight
        self._put(module, kind, tensor)
        # A module that was trained in full is a copy of PEFT's; what was only saved with the adapter stays tied.
        if tied and module is given and module_name.rpartition(".")[2] not in adapter.config.modules_to_save:
            self._put(put_out, "weight", given.weight)

    def _merge(self, adapter: Adapter, name: str, module: Any) -> None:
        weight = module.weight.detach()
        update = adapter.update(name).to(weight.device)
        self._put(module, "weight", weight + (update.T if _inputs_first(module) else update))

    def _hook(self, adapter: Adapter, name: str, module: Any) -> None:
        import torch

        a, b = (factor.to(module.weight.device) for factor in adapter.factors(name))
        b = b * adapter.pairs[name].scaling

        def beside(_: Any, inputs: tuple[Any, ...], output: "torch.Tensor") -> "torch.Tensor":
            if isinstance(module, torch.nn.Embedding):
                inner = torch.nn.functional.embedding(inputs[0], a.T)
            else:
                inner = torch.nn.functional.linear(inputs[0].float(), a)
            return (output + torch.nn.functional.linear(inner, b)).to(output.dtype)

        self._hooks.append(module.register_forward_hook(beside))

    def _module(self, adapter: Adapter, name: str) -> Any:
        module = self._find(name)
        pair = adapter.pairs[name]
        sizes = _sizes(module)
        if sizes is None:
            raise _misfit(adapter, f"adapts '{printable(name, 100)}', which the base has not")
        if sizes != (pair.inputs, pair.outputs):
            raise _misfit(
                adapter,
                f"{printable(name, 100)} has {pair.inputs} inputs and {pair.outputs} outputs, in the base {sizes[0]} "
                f"and {sizes[1]}",
            )
        return module

    def _find(self, name: str) -> Any:
        try:
            return self._network.get_submodule(name)
        except AttributeError:
            return None


def _sizes(module: Any) -> tuple[int, int] | None:
    """Inputs and outputs of a module that can be adapted; None for any other."""
    import torch

    if isinstance(module, torch.nn.Linear) and not module.weight.is_floating_point():
        return module.in_features, module.out_features  # quantised: the weight is packed
    if isinstance(module, torch.nn.Linear):
        return module.weight.shape[1], module.weight.shape[0]
    return tuple(module.weight.shape) if _inputs_first(module) else None


def _inputs_first(module: Any) -> bool:
    """Whether the module's weight is the transpose of what it multiplies by."""
    import torch

    return isinstance(module, torch.nn.Embedding) or _is_conv1d(module)


def _is_conv1d(module: Any) -> bool:
    """Whether it is GPT-2's linear layer."""
    from transformers.pytorch_utils import Conv1D

    return isinstance(module, Conv1D)


def _shape(tensor: Any) -> str:
    return " × ".join(map(str, tensor.shape))


def _misfit(adapter: Adapter, what: str) -> InputError:
    return InputError(f"does not fit the base: {what}; was it trained on another?", path=adapter.directory)
