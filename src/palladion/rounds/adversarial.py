"""Adversarial examples for training: projected gradient descent, and one step from a random start.

Both change each pixel by at most ``eps`` and stay within [0, 1]. The gradient is that of the input alone: the network's
own gradients are untouched, so the step that follows is that of the adversarial batch and of nothing else. (NIST's
tools of December 2020 ran the one-step attack through ``backward()`` and did not clear what it left on the weights.)
The network answers as it would when it is used: normalisation layers take their running statistics meanwhile.
"""

from collections.abc import Callable, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

from palladion.rounds.design import AdversarialPlan

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["as_used", "attack", "perturb", "random_start"]

_FBF_STEP = 1.25  # times eps; Wong, Rice, Kolter 2020, section 4
_PGD_REACH = 2.0  # the steps together could go this many times eps, as NIST's


def perturb(
    network: torch.nn.Module,
    images: torch.Tensor,
    targets: torch.Tensor,
    plan: AdversarialPlan,
    draws: torch.Generator,
    *,
    autocast: bool,
) -> torch.Tensor:
    """The images with the change that the attack finds.

    Args:
        network: in training mode; it comes back in training mode.
        images: shape ``(n, 3, side, side)`` in [0, 1].
        targets: classes whose loss is made larger, shape ``(n,)``.
        plan: which attack, and how far.
        draws: of the random start, on the CPU.
        autocast: take gradients in bfloat16.
    """

    def loss(attacked: torch.Tensor) -> torch.Tensor:
        with torch.autocast(images.device.type, torch.bfloat16, enabled=autocast):
            logits = network(attacked).logits
        return torch.nn.functional.cross_entropy(logits.float(), targets)

    start = random_start(images.shape, draws).to(images.device)
    with as_used(network):
        return attack(loss, images, start, [plan])


def random_start(shape: Sequence[int], draws: torch.Generator) -> torch.Tensor:
    """Uniform numbers in [−1, 1): where an attack starts, in units of eps."""
    return torch.rand(tuple(shape), generator=draws) * 2 - 1


@contextmanager
def as_used(network: torch.nn.Module) -> "Iterator[None]":
    """The network as it answers when it is used, and without a graph for its weights; in training mode again after."""
    # Only the input's gradient is wanted.
    weights = [weight for weight in network.parameters() if weight.requires_grad]
    network.eval()
    for weight in weights:
        weight.requires_grad_(False)
    try:
        yield
    finally:
        for weight in weights:
            weight.requires_grad_(True)
        network.train()


def attack(
    loss: Callable[[torch.Tensor], torch.Tensor],
    images: torch.Tensor,
    start: torch.Tensor,
    plans: Sequence[AdversarialPlan],
) -> torch.Tensor:
    """Climb the loss with steps of the gradient's sign.

    Args:
        loss: of all the images together, a scalar.
        images: shape ``(n, 3, side, side)``, or of several models ``(models, n, 3, side, side)``.
        start: :func:`random_start`, of the same shape.
        plans: one a model, all of them with as many steps; one alone is for all images.
    """
    (steps,) = {plan.iterations or 1 for plan in plans}
    shape = (len(plans), *[1] * (images.dim() - 1))
    eps = torch.tensor([plan.eps / 255 for plan in plans], device=images.device).reshape(shape)
    reach = [_FBF_STEP if plan.method == "fbf" else _PGD_REACH / steps for plan in plans]
    step = eps * torch.tensor(reach, device=images.device).reshape(shape)
    change = start * eps
    for _ in range(steps):
        attacked = (images + change).clamp_(0, 1).requires_grad_()
        (gradient,) = torch.autograd.grad(loss(attacked), attacked)
        change = (attacked.detach() - images + step * gradient.sign()).clamp(-eps, eps)
    return (images + change).clamp_(0, 1)
