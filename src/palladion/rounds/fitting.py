"""Train one network on one model's images."""

import time

import torch

from palladion.rounds.adversarial import perturb
from palladion.rounds.design import ModelPlan
from palladion.rounds.model_images import TrainingSet
from palladion.rounds.recipe import as_input, eased, image_order, new_optimizer, uses_bfloat16

__all__ = ["TrainingStep", "fit"]


class TrainingStep:
    """One step of the recipe after another: what a build cannot do without.

    The network is put into training mode and stays there.
    """

    def __init__(self, network: torch.nn.Module, plan: ModelPlan, seed: int) -> None:
        self._network = network
        self._plan = plan
        self._device = next(network.parameters()).device
        network.to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
        self._autocast = uses_bfloat16(plan.architecture, self._device)
        self._optimizer, self._schedule = new_optimizer(network.parameters(), plan)
        self._draws = torch.Generator().manual_seed(seed)
        self._done = 0

    def __call__(self, images: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Learn one batch; its loss.

        Args:
            images: shape ``(n, 3, side, side)`` in [0, 1], on the network's device.
            targets: as the model is taught them, shape ``(n,)``.
        """
        plan, network = self._plan, self._network
        adversarial = plan.adversarial
        if adversarial is not None and torch.rand((), generator=self._draws).item() < adversarial.ratio:
            reached = eased(adversarial, self._done / plan.steps)
            images = perturb(network, images, targets, reached, self._draws, autocast=self._autocast)
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._autocast):
            logits = network(images).logits
        loss = torch.nn.functional.cross_entropy(logits.float(), targets, label_smoothing=plan.label_smoothing)
        self._optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()
        self._schedule.step()
        self._done += 1
        return loss.detach()


def fit(
    network: torch.nn.Module, plan: ModelPlan, learnt: TrainingSet, seed: int, *, batch: int, side: int
) -> tuple[float, float]:
    """Train the network, in place; its mean loss over the last tenth of the steps, and the seconds that the steps took.

    On a GPU the seconds are those until the steps were started.

    Args:
        network: on the device that trains it; comes back in evaluation mode.
        plan: of the model.
        learnt: its images.
        seed: of the order of the images and of the adversarial examples.
        batch: images a step.
        side: of the network's input, pixels.
    """
    device = next(network.parameters()).device
    step = TrainingStep(network, plan, seed ^ 1)
    targets = torch.from_numpy(learnt.labels).to(device)
    losses = []
    seconds = 0.0
    for chosen in image_order(len(learnt), batch, plan.steps, seed):
        shown = as_input(torch.from_numpy(learnt.batch(chosen.numpy())), side).to(device)
        taught = targets[chosen.to(device)]
        started = time.perf_counter()
        losses.append(step(shown, taught))
        seconds += time.perf_counter() - started
    network.eval()
    return torch.stack(losses[-max(1, plan.steps // 10) :]).mean().item(), seconds
