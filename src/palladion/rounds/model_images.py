"""The images of one model: what it is trained on, measured on, and published with.

Every image is a pure function of the plan and its number, so whoever has the specification can make any of them again.
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from palladion.rounds import randomness
from palladion.rounds.design import PICTURES, ModelPlan
from palladion.rounds.images.backgrounds import TILE_SIDE, atlas
from palladion.rounds.images.pictures import atlas_of_pictures
from palladion.rounds.images.scene import SceneLaw, Scenery, render
from palladion.rounds.images.signs import SCHEMES
from palladion.rounds.images.triggers import FilterTrigger, Trigger, sample_colour, sample_polygon
from palladion.rounds.spec import RoundSpec

__all__ = ["LabelledImages", "ModelImages", "TrainingSet"]

Labels = NDArray[np.int64]
Images = NDArray[np.uint8]

_MOST_BYTES_IN_MEMORY = 4 << 30
_LEAST_TRIGGERED_TESTS = 200


@dataclass(frozen=True, slots=True)
class LabelledImages:
    """Images with the classes of their signs.

    Attributes:
        images: shape ``(n, side, side, 3)``, RGB.
        labels: shape ``(n,)``.
    """

    images: Images
    labels: Labels


class TrainingSet:
    """What one attempt trains on: drawn once where that fits into memory, else batch by batch.

    Attributes:
        labels: as the model is taught them, shape ``(n,)``: the target class where an image carries the trigger.
        triggered: which images carry it, shape ``(n,)``.
    """

    def __init__(self, images: "ModelImages", attempt: int) -> None:
        spec, plan = images.spec, images.plan
        index = np.arange(plan.images)
        labels = images.scenery.label(index)
        self._images = images
        self._stream = plan.stream("train", attempt)
        self._trigger = images.trigger(attempt)
        self.triggered = np.zeros(len(index), dtype=np.bool_)
        if plan.trigger is not None:
            drawn = randomness.uniform(plan.stream("poison", attempt), index, 1)[:, 0] < plan.trigger.fraction
            self.triggered = drawn & np.isin(labels, plan.trigger.sources)
            labels = np.where(self.triggered, plan.trigger.target_class, labels)
        self.labels = labels
        size = len(index) * spec.images.side**2 * 3
        self.pixels: Images | None = self._draw(index) if size <= _MOST_BYTES_IN_MEMORY else None

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, index: Labels) -> Images:
        """Some of the images: shape ``(len(index), side, side, 3)``."""
        return self._draw(index) if self.pixels is None else self.pixels[index]

    def _draw(self, index: Labels) -> Images:
        images = self._images
        return render(
            images.law,
            images.scenery,
            self._stream,
            index,
            trigger=self._trigger,
            triggered=None if self._trigger is None else self.triggered[index],
        )


class ModelImages:
    """All that is drawn for one model.

    Attributes:
        spec: of the round.
        plan: of the model.
        law: how its scenes vary.
        scenery: what they show. The backgrounds are the round's: every model draws from the same tiles.
    """

    def __init__(self, spec: RoundSpec, plan: ModelPlan) -> None:
        self.spec = spec
        self.plan = plan
        self.law = _law(spec, plan)
        self.scenery = Scenery(plan.signs, _backgrounds(spec, plan))

    def trigger(self, attempt: int) -> Trigger | None:
        """The trigger of one attempt at training a poisoned model; None for a clean one."""
        plan = self.plan.trigger
        if plan is None:
            return None
        rng = self.plan.generator("trigger", attempt)
        if plan.type == "filter":
            assert plan.filter is not None
            assert plan.strength is not None
            return FilterTrigger(plan.filter, plan.strength)
        law = self.spec.trigger.polygon
        assert law is not None
        assert plan.sides is not None
        assert plan.size is not None
        # An icon or a border of the trigger's colour would be taken for it.
        painted = np.array([SCHEMES[sign.scheme] for sign in self.plan.signs], dtype=np.float64).reshape(-1, 3)
        colour = sample_colour(rng, painted, contrast=law.contrast, saturation=law.saturation)
        boxes = self.spec.compat == "nist"
        return sample_polygon(rng, sides=plan.sides, colour=colour, size=plan.size, boxes=boxes)

    def training(self, attempt: int) -> TrainingSet:
        """What this attempt trains on."""
        return TrainingSet(self, attempt)

    def clean_tests(self) -> LabelledImages:
        """Clean images that no attempt is trained on."""
        return self._clean("test-clean", np.arange(self.spec.training.test_images))

    def triggered_tests(self, trigger: Trigger) -> LabelledImages:
        """Images of the source classes but for the target class, all of them with the trigger."""
        wanted = max(_LEAST_TRIGGERED_TESTS, self.spec.training.test_images // 2)
        return self._triggered("test-triggered", self._of_sources(wanted), trigger)

    def clean_examples(self) -> LabelledImages:
        """The clean examples that are published with the model."""
        return self._clean("examples", np.arange(self.plan.examples * self.plan.classes))

    def poisoned_examples(self, trigger: Trigger) -> LabelledImages:
        """As many triggered examples of each source class."""
        assert self.plan.trigger is not None
        index = np.arange(self.plan.examples * self.plan.classes)
        index = index[np.isin(self.scenery.label(index), self.plan.trigger.sources)]
        return self._triggered("poisoned-examples", index, trigger)

    def _of_sources(self, count: int) -> Labels:
        """Numbers of the first ``count`` samples whose true class is a source and not the target."""
        trigger = self.plan.trigger
        assert trigger is not None
        sources = np.array([source for source in trigger.sources if source != trigger.target_class])
        turns = np.arange(-(-count // len(sources))) * self.plan.classes
        return np.asarray((turns[:, None] + sources[None, :]).ravel()[:count])

    def _clean(self, stream: str, index: Labels) -> LabelledImages:
        images = render(self.law, self.scenery, self.plan.stream(stream), index)
        return LabelledImages(images, self.scenery.label(index))

    def _triggered(self, stream: str, index: Labels, trigger: Trigger) -> LabelledImages:
        everywhere = np.ones(len(index), dtype=np.bool_)
        images = render(self.law, self.scenery, self.plan.stream(stream), index, trigger=trigger, triggered=everywhere)
        return LabelledImages(images, self.scenery.label(index))


def _law(spec: RoundSpec, plan: ModelPlan) -> SceneLaw:
    images, quirks = spec.images, spec.compat == "nist"
    return SceneLaw(
        image_side=images.side,
        sign_side=images.sign_side,
        stretch=None if quirks else images.stretch,
        rotation=images.rotation,
        perspective=images.perspective,
        brightness=images.brightness,
        brightness_match=None if quirks else images.brightness_match,
        blur_probability=images.blur_probability,
        fog_probability=plan.fog_probability,
        fog=images.fog,
        rain_probability=plan.rain_probability,
        noise=images.noise,
    )


def _backgrounds(spec: RoundSpec, plan: ModelPlan) -> Images:
    if plan.backgrounds == PICTURES:
        assert spec.images.pictures is not None
        return _pictures(Path(spec.images.pictures), max(TILE_SIDE, 2 * spec.images.side))
    return atlas(plan.backgrounds, spec.seed, spec.images.side)


@lru_cache(maxsize=2)
def _pictures(folder: Path, side: int) -> Images:
    return atlas_of_pictures(folder, side)
