"""Train many networks of one family at once, as one computation over stacked weights.

A small network leaves a GPU idle: its kernels take less time than to be started. Stacked along a dimension of their own
(``torch.func.vmap``), a dozen networks take as many kernels as one. Each has its own images, learning rate, decay,
schedule, number of steps and adversarial examples; nothing passes between them, and each comes out as it would alone,
but for the order of sums. Networks whose last layers differ in the number of classes are filled up with weights that
no gradient reaches and that are cut off again.
"""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import torch
from torch.func import functional_call, vmap

from palladion.rounds.adversarial import as_used, attack, random_start
from palladion.rounds.design import ModelPlan
from palladion.rounds.model_images import TrainingSet
from palladion.rounds.recipe import as_input, eased, image_order, new_optimizer, uses_bfloat16

__all__ = ["fit_stack"]

Tensors = dict[str, torch.Tensor]

_FORGETTING, _EPSILON = 0.999, 1e-8  # of AdamW's squares; what torch takes


def fit_stack(
    networks: Sequence[torch.nn.Module],
    plans: Sequence[ModelPlan],
    learnt: Sequence[TrainingSet],
    seeds: Sequence[int],
    *,
    batch: int,
    side: int,
) -> list[float]:
    """Train the networks, in place; the mean loss of each over the last tenth of its steps.

    Args:
        networks: of one family, on the device that trains them; they come back in evaluation mode.
        plans: of the models, one a network, as all that follows.
        learnt: their images, in memory.
        seeds: of the order of their images and of their adversarial examples.
        batch: images a step and network.
        side: of the networks' input, pixels.
    """
    device = next(networks[0].parameters()).device
    steps = max(plan.steps for plan in plans)
    first = np.cumsum([0, *(len(images) for images in learnt)]).tolist()
    # All images of all models in one place, so that a step's are taken at once.
    pixels = torch.cat([torch.from_numpy(images.pixels) for images in learnt]).to(device)
    targets = torch.cat([torch.from_numpy(images.labels) for images in learnt]).to(device)
    orders = [
        image_order(len(images), batch, steps, seed) + start
        for images, seed, start in zip(learnt, seeds, first[:-1], strict=True)
    ]
    order = torch.stack(orders, dim=1).to(device)
    stack = _Stack(networks, plans, [seed ^ 1 for seed in seeds])
    losses = []
    for number, chosen in enumerate(order):
        losses.append(stack.step(as_input(pixels[chosen], side), targets[chosen]))
        for model, plan in enumerate(plans):
            if plan.steps == number + 1:
                stack.write_back(model)
    for network in networks:
        network.eval()
    told = torch.stack(losses)
    return [told[plan.steps - max(1, plan.steps // 10) : plan.steps, i].mean().item() for i, plan in enumerate(plans)]


class _Stack:
    """The weights of all networks as one matrix, a row each, and their statistics stacked by name."""

    def __init__(self, networks: Sequence[torch.nn.Module], plans: Sequence[ModelPlan], seeds: Sequence[int]) -> None:
        self._networks, self._plans = networks, plans
        self._device = next(networks[0].parameters()).device
        self._draws = [torch.Generator().manual_seed(seed) for seed in seeds]
        self._autocast = uses_bfloat16(plans[0].architecture, self._device)
        # The one with the most classes lends its structure to all.
        self._shape = max(zip(plans, networks, strict=True), key=lambda pair: pair[0].classes)[1].train()
        self._shapes = {name: weight.shape for name, weight in self._shape.named_parameters()}
        self._weights = torch.cat(
            [
                _stacked([dict(network.named_parameters())[name] for network in networks], shape).flatten(1)
                for name, shape in self._shapes.items()
            ],
            dim=1,
        )
        self._statistics: Tensors = {
            name: _stacked([dict(network.named_buffers())[name] for network in networks], buffer.shape)
            for name, buffer in self._shape.named_buffers()
        }
        count = torch.tensor([plan.classes for plan in plans], device=self._device)
        self._counts = count[:, None]
        self._classes = torch.arange(int(count.max()), device=self._device) < self._counts
        self._smoothing = torch.tensor([plan.label_smoothing for plan in plans], device=self._device)[:, None]
        self._mean, self._square = torch.zeros_like(self._weights), torch.zeros_like(self._weights)
        steps = max(plan.steps for plan in plans)
        schedules = torch.stack([_schedule(plan, steps) for plan in plans], dim=2).to(self._device)
        self._rates, self._momenta = schedules[..., None]
        self._decay = torch.tensor([plan.weight_decay for plan in plans], device=self._device)[:, None]
        self._done = 0

    def step(self, images: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Let every network learn a batch; their losses, shape ``(models,)``.

        Args:
            images: shape ``(models, n, 3, side, side)`` in [0, 1].
            targets: shape ``(models, n)``.
        """
        images = self._perturbed(images, targets)
        weights = self._weights.requires_grad_()
        logits = self._logits(weights, self._statistics, images)
        everyone = torch.arange(len(self._plans), device=self._device)
        losses = self._losses(logits, targets, everyone, self._smoothing)
        (gradient,) = torch.autograd.grad(losses.sum(), weights)
        self._weights = weights.detach()
        self._descend(gradient)
        self._done += 1
        return losses.detach()

    def write_back(self, model: int) -> None:
        """Give a network what it has learnt."""
        network = self._networks[model]
        row = self._named(self._weights[model : model + 1])
        there = dict(network.named_parameters()) | dict(network.named_buffers())
        with torch.no_grad():
            for name, value in there.items():
                learnt = row[name][0] if name in row else self._statistics[name][model]
                value.copy_(learnt[tuple(slice(0, extent) for extent in value.shape)])

    def _named(self, weights: torch.Tensor) -> Tensors:
        """Rows of the matrix as weights by name: shape ``(rows, …)``."""
        parts = torch.split(weights, [shape.numel() for shape in self._shapes.values()], dim=1)
        return {
            name: part.reshape(len(weights), *shape)
            for (name, shape), part in zip(self._shapes.items(), parts, strict=True)
        }

    def _logits(self, weights: torch.Tensor, statistics: Tensors, images: torch.Tensor) -> torch.Tensor:
        def answer(own: Tensors, statistics: Tensors, images: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = functional_call(self._shape, (own, statistics), (images,)).logits
            return logits

        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._autocast):
            answers: torch.Tensor = vmap(answer, randomness="different")(self._named(weights), statistics, images)
        return answers.float()

    def _losses(
        self, logits: torch.Tensor, targets: torch.Tensor, models: torch.Tensor, smoothing: torch.Tensor
    ) -> torch.Tensor:
        """Cross-entropy of each network over its own classes: shape ``(models,)``."""
        beyond = ~self._classes[models][:, None, :]
        likelihood = logits.masked_fill(beyond, float("-inf")).log_softmax(dim=2)
        right = likelihood.gather(2, targets[..., None])[..., 0]
        mean = likelihood.masked_fill(beyond, 0.0).sum(dim=2) / self._counts[models]
        return -((1 - smoothing) * right + smoothing * mean).mean(dim=1)

    def _perturbed(self, images: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """The images, those of some networks with adversarial changes."""
        alike: dict[int, list[int]] = defaultdict(list)  # networks by the number of the attack's steps
        for model, (plan, draws) in enumerate(zip(self._plans, self._draws, strict=True)):
            adversarial = plan.adversarial
            if adversarial is None or self._done >= plan.steps:
                continue
            if torch.rand((), generator=draws).item() < adversarial.ratio:
                alike[adversarial.iterations or 1].append(model)
        if not alike:
            return images
        images = images.clone()
        with as_used(self._shape):
            for members in alike.values():
                models = torch.tensor(members, device=self._device)
                images[models] = self._attacked(models, images[models], targets[models])
        return images

    def _attacked(self, models: torch.Tensor, images: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """The images of these networks, all attacked with as many steps."""
        weights = self._weights[models]
        statistics = {name: buffer[models] for name, buffer in self._statistics.items()}
        unsmoothed = torch.zeros((len(models), 1), device=self._device)

        def loss(shown: torch.Tensor) -> torch.Tensor:
            return self._losses(self._logits(weights, statistics, shown), targets, models, unsmoothed).sum()

        members = models.tolist()
        start = torch.stack([random_start(images.shape[1:], self._draws[model]) for model in members])
        plans = [self._plans[model] for model in members]
        reached = [eased(plan.adversarial, self._done / plan.steps) for plan in plans if plan.adversarial is not None]
        return attack(loss, images, start.to(self._device), reached)

    def _descend(self, gradient: torch.Tensor) -> None:
        """AdamW, with a rate, a momentum and a decay for each row (Loshchilov and Hutter 2019, algorithm 2)."""
        rate, momentum = self._rates[self._done], self._momenta[self._done]
        taken = self._done + 1
        self._weights *= 1 - rate * self._decay
        self._mean.lerp_(gradient, 1 - momentum)
        self._square.mul_(_FORGETTING).addcmul_(gradient, gradient, value=1 - _FORGETTING)
        spread = self._square.sqrt().div_((1 - _FORGETTING**taken) ** 0.5).add_(_EPSILON)
        self._weights -= rate / (1 - momentum**taken) * self._mean / spread


def _stacked(tensors: Sequence[torch.Tensor], shape: torch.Size) -> torch.Tensor:
    """The tensors one upon the other, each filled up with zeros to the shape."""
    stack = torch.zeros((len(tensors), *shape), dtype=tensors[0].dtype, device=tensors[0].device)
    for place, tensor in zip(stack, tensors, strict=True):
        place[tuple(slice(0, extent) for extent in tensor.shape)] = tensor.detach()
    return stack


def _schedule(plan: ModelPlan, steps: int) -> torch.Tensor:
    """Learning rate and momentum of each step, shape ``(2, steps)``; nothing moves any more after the model's last."""
    optimizer, schedule = new_optimizer([torch.nn.Parameter(torch.zeros(1))], plan)
    table = torch.zeros(2, steps)
    for number in range(plan.steps):
        group = optimizer.param_groups[0]
        table[:, number] = torch.tensor([group["lr"], group["betas"][0]])
        optimizer.step()  # the schedule wants to see one; without a gradient it does nothing
        schedule.step()
    return table
