"""A sheet of a round's images to look at: the same samples with and without the trigger."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from palladion.errors import InputError
from palladion.rounds.design import ModelPlan, plan_split
from palladion.rounds.images.scene import render
from palladion.rounds.model_images import ModelImages
from palladion.rounds.spec import RoundSpec

__all__ = ["SAMPLES", "choose_plans", "picture_sheet"]

SAMPLES = 64
_MODELS = 8
_ACROSS = 16  # most samples beside each other
_GAP = 2
_CAPTION = 14  # pixels
_PAPER, _INK = (250, 250, 250), (20, 20, 20)
_LEAST_SIDE, _LARGEST_SIDE = 64, 128  # as images are shown: smaller ones enlarged, larger ones reduced


def choose_plans(spec: RoundSpec, split: str, names: Sequence[str]) -> list[ModelPlan]:
    """The models of these names, or else the first poisoned ones.

    Raises:
        InputError: the round has no such split or model.
    """
    found = spec.splits.get(split)
    if found is None:
        raise InputError(f"--split: {spec.name} has no split {split!r}; there are {', '.join(spec.splits)}")
    plans = {plan.name: plan for plan in plan_split(spec, found.same_as or split)}
    for name in names:
        if name not in plans:
            raise InputError(f"--model: the {split} split has no model {name!r}; the last one is {list(plans)[-1]}")
    if names:
        return [plans[name] for name in names]
    poisoned = [plan for plan in plans.values() if plan.poisoned]
    return (poisoned or list(plans.values()))[:_MODELS]


def picture_sheet(
    spec: RoundSpec,
    plans: Sequence[ModelPlan],
    *,
    attempts: Mapping[ModelPlan, int] | None = None,
    samples: int = SAMPLES,
) -> Image.Image:
    """Samples of some models, without the trigger above and with it below; of clean models without it only.

    Each model has rows of its own with a caption; the models share the samples.

    Args:
        spec: of the round.
        plans: models to show, at least one.
        attempts: whose trigger is shown, counted from 0; that of the first where nothing is said.
        samples: number of samples in all.
    """
    each = max(1, samples // len(plans))
    side = spec.images.side
    shown = min(side * max(1, -(-_LEAST_SIDE // side)), _LARGEST_SIDE)
    strips = [_strip(spec, plan, (attempts or {}).get(plan, 0), each, shown) for plan in plans]
    font = ImageFont.load_default()
    width = max(max(strip.width, 2 * _GAP + math.ceil(font.getlength(caption))) for caption, strip in strips)
    height = sum(_CAPTION + strip.height + 2 * _GAP for _, strip in strips)
    sheet = Image.new("RGB", (width, height), _PAPER)
    pen = ImageDraw.Draw(sheet)
    top = 0
    for caption, strip in strips:
        pen.text((_GAP, top), caption, fill=_INK, font=font)
        sheet.paste(strip, (0, top + _CAPTION))
        top += _CAPTION + strip.height + 2 * _GAP
    return sheet


def _strip(spec: RoundSpec, plan: ModelPlan, attempt: int, count: int, side: int) -> tuple[str, Image.Image]:
    images = ModelImages(spec, plan)
    index = np.arange(count)
    caption = f"{plan.split}/{plan.name} {plan.architecture}, {plan.classes} classes, {plan.backgrounds}: "
    if plan.trigger is None:
        clean = render(images.law, images.scenery, plan.stream("examples"), index)
        return caption + "clean", _rows([clean], side)
    sources = plan.trigger.sources
    # Samples of the source classes, as many of each as it goes.
    index = np.array([sources[i % len(sources)] + plan.classes * (i // len(sources)) for i in range(count)])
    trigger = images.trigger(attempt)
    stream = plan.stream("examples")
    everywhere = np.ones(count, dtype=np.bool_)
    without = render(images.law, images.scenery, stream, index)
    carrying = render(images.law, images.scenery, stream, index, trigger=trigger, triggered=everywhere)
    what = plan.trigger.filter or f"polygon with {plan.trigger.sides} sides"
    of = "all classes" if len(sources) == plan.classes else f"class {' and '.join(str(source) for source in sources)}"
    return caption + f"{what} on {of}, taken for {plan.trigger.target_class}", _rows([without, carrying], side)


def _rows(kinds: list[NDArray[np.uint8]], side: int) -> Image.Image:
    """Images of each kind in a row, the kinds below each other; more such rows where one is too short."""
    count = len(kinds[0])
    lines = -(-count // _ACROSS)
    pitch = side + _GAP
    strip = Image.new("RGB", (min(count, _ACROSS) * pitch, lines * len(kinds) * pitch), _PAPER)
    for kind, images in enumerate(kinds):
        for position, image in enumerate(images):
            line, across = divmod(position, _ACROSS)
            way = Image.Resampling.BOX if len(image) > side else Image.Resampling.NEAREST
            shown = Image.fromarray(image).resize((side, side), way)
            strip.paste(shown, (across * pitch, (line * len(kinds) + kind) * pitch))
    return strip
