"""Adversarial examples for training: projected gradient descent, and one step from a random start.

Both change each pixel by at most ``eps`` and stay within [0, 1]. The gradient is that of the input alone: the network's
own gradients are untouched, so the step that follows is that of the adversarial batch and of nothing else. (NIST's
tools of December 2020 ran the one-step attack through ``backward()`` and did not clear what it left on the weights.)
The network answers as it would when it is used: normalisation layers take their running statistics meanwhile.
"""

import torch

from palladion.rounds.design import AdversarialPlan

__all__ = ["perturb"]

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
    eps = plan.eps / 255
    steps = plan.iterations if plan.iterations is not None else 1
    step = _FBF_STEP * eps if plan.method == "fbf" else _PGD_REACH * eps / steps
    start = torch.rand(images.shape, generator=draws, dtype=images.dtype).to(images.device)
    change = (start * 2 - 1) * eps
    # Only the input's gradient is wanted: no graph is kept for the weights.
    weights = [weight for weight in network.parameters() if weight.requires_grad]
    network.eval()
    for weight in weights:
        weight.requires_grad_(False)
    try:
        for _ in range(steps):
            attacked = (images + change).clamp_(0, 1).requires_grad_()
            with torch.autocast(images.device.type, torch.bfloat16, enabled=autocast):
                logits = network(attacked).logits
            loss = torch.nn.functional.cross_entropy(logits.float(), targets)
            (gradient,) = torch.autograd.grad(loss, attacked)
            change = (attacked.detach() - images + step * gradient.sign()).clamp_(-eps, eps)
    finally:
        for weight in weights:
            weight.requires_grad_(True)
        network.train()
    return (images + change).clamp_(0, 1)
