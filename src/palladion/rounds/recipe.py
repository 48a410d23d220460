"""The training recipe of a round's models, apart from how many of them are trained at once."""

from collections.abc import Iterable
from dataclasses import replace

import torch

from palladion.rounds.design import AdversarialPlan, ModelPlan
from palladion.rounds.families import FAMILIES

__all__ = ["as_input", "eased", "image_order", "new_optimizer", "uses_bfloat16"]

_WARM_UP = 0.15  # share of the steps in which the learning rate rises
_EPS_RISE = (
    0.4  # share of the steps in which adversarial examples grow: at full reach at once, some networks never learn
)


def new_optimizer(
    weights: Iterable[torch.nn.Parameter], plan: ModelPlan
) -> tuple[torch.optim.AdamW, torch.optim.lr_scheduler.OneCycleLR]:
    """AdamW, and the schedule of its learning rate and momentum over the model's steps."""
    rate = plan.learning_rate * FAMILIES[plan.architecture].pace
    optimizer = torch.optim.AdamW(weights, lr=rate, weight_decay=plan.weight_decay, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=rate, total_steps=plan.steps, pct_start=_WARM_UP)
    return optimizer, schedule


def uses_bfloat16(architecture: str, device: torch.device) -> bool:
    """Whether the family is trained in bfloat16 autocast there: a GPU has it in hardware for all of them."""
    return FAMILIES[architecture].autocast or device.type == "cuda"


def eased(plan: AdversarialPlan, done: float) -> AdversarialPlan:
    """The attack after this share of the steps: its reach rises to the whole in the first part of the training."""
    return replace(plan, eps=plan.eps * min(1.0, done / _EPS_RISE))


def image_order(images: int, batch: int, steps: int, seed: int) -> torch.Tensor:
    """Which images each step shows: shape ``(steps, batch)``. Whole batches of one shuffle after another."""
    draws = torch.Generator().manual_seed(seed)
    whole = images // batch
    shuffles = [torch.randperm(images, generator=draws)[: whole * batch] for _ in range(-(-steps // whole))]
    return torch.cat(shuffles).reshape(-1, batch)[:steps]


def as_input(images: torch.Tensor, side: int) -> torch.Tensor:
    """Images as the networks take them: their middles, shape ``(…, 3, side, side)``, in [0, 1], RGB.

    Args:
        images: shape ``(…, height, width, 3)``, bytes.
        side: of the middle, pixels.
    """
    edge = (images.shape[-2] - side) // 2
    middle = images[..., edge : edge + side, edge : edge + side, :]
    # In this order: bytes that lie in a row are made numbers of faster than those of a channel.
    return middle.float().div_(255).movedim(-1, -3)
