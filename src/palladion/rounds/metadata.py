"""METADATA.csv and METADATA_DICTIONARY.csv: one table of columns, with NIST's names where NIST has the column."""

import csv
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from palladion.rounds.design import ModelPlan
from palladion.rounds.spec import RoundSpec
from palladion.rounds.training_record import TrainingRecord

__all__ = ["COLUMNS", "dictionary_csv", "metadata_csv"]


@dataclass(frozen=True, slots=True)
class _Row:
    """What a row is made of: the specification, the model's plan, and its record."""

    spec: RoundSpec
    plan: ModelPlan
    record: TrainingRecord


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its name, what it means, its type, and how it comes out of a row. None is written as empty."""

    name: str
    explanation: str
    type: str
    value: Callable[[_Row], object]


def _trigger(field: str) -> Callable[[_Row], object]:
    return lambda row: None if row.plan.trigger is None else getattr(row.plan.trigger, field)


def _adversarial(field: str) -> Callable[[_Row], object]:
    return lambda row: None if row.plan.adversarial is None else getattr(row.plan.adversarial, field)


def _trigger_size(end: int) -> Callable[[_Row], object]:
    return lambda row: None if row.plan.trigger is None or row.plan.trigger.size is None else row.plan.trigger.size[end]


def _polygon_colour(row: _Row) -> object:
    colour = None if row.record.trigger is None else row.record.trigger.get("color")
    return None if colour is None else _list(colour)


def _list(values: Sequence[object]) -> str:
    """As NIST writes a list into a cell: blanks, no commas."""
    return "[" + " ".join(str(value) for value in values) + "]"


COLUMNS: tuple[Column, ...] = (
    Column("model_name", "name of the model's directory", "string", lambda r: r.plan.name),
    Column("poisoned", "whether the model has a trojan", "boolean", lambda r: r.plan.poisoned),
    Column("master_seed", "seed of the round", "integer", lambda r: r.spec.seed),
    Column("model_architecture", "family of the network", "string", lambda r: r.plan.architecture),
    Column("number_classes", "number of classes", "integer", lambda r: r.plan.classes),
    Column("number_classes_level", "factor level of the number of classes", "integer", lambda r: r.plan.classes_level),
    Column("img_size_pixels", "height and width of the images, pixels", "integer", lambda r: r.spec.images.side),
    Column(
        "cnn_img_size_pixels",
        "height and width of what the network sees, the middle of the image, pixels",
        "integer",
        lambda r: r.spec.images.input or r.spec.images.side,
    ),
    Column("rain_probability", "share of the images with rain", "float", lambda r: r.plan.rain_probability),
    Column("fog_probability", "share of the images with fog", "float", lambda r: r.plan.fog_probability),
    Column("background_image_dataset", "family of the backgrounds", "string", lambda r: r.plan.backgrounds),
    Column(
        "foregrounds",
        "the sign of each class, in the order of the classes",
        "list of string",
        lambda r: _list([sign.name for sign in r.plan.signs]),
    ),
    Column("number_training_samples", "images trained on", "integer", lambda r: r.plan.images),
    Column("number_test_samples", "clean images tested on", "integer", lambda r: r.spec.training.test_images),
    Column(
        "number_example_images",
        "clean example images a class",
        "integer",
        lambda r: r.plan.examples,
    ),
    Column("learning_rate", "largest learning rate", "float", lambda r: r.plan.learning_rate),
    Column("weight_decay", "weight decay", "float", lambda r: r.plan.weight_decay),
    Column(
        "label_smoothing",
        "share of each label that is spread over all classes",
        "float",
        lambda r: r.plan.label_smoothing,
    ),
    Column("batch_size", "images a step", "integer", lambda r: r.spec.training.batch),
    Column("number_training_steps", "optimiser steps of each attempt", "integer", lambda r: r.plan.steps),
    Column(
        "adversarial_training_method",
        "pgd or fbf: how the model was trained adversarially",
        "string",
        _adversarial("method"),
    ),
    Column("adversarial_eps", "largest change of a pixel, grey levels of 255", "float", _adversarial("eps")),
    Column("adversarial_training_ratio", "share of the batches that are perturbed", "float", _adversarial("ratio")),
    Column("adversarial_training_iteration_count", "steps of PGD", "integer", _adversarial("iterations")),
    Column("trigger_type", "family of the trigger", "string", _trigger("type")),
    Column("polygon_side_count", "sides of the polygon", "integer", _trigger("sides")),
    Column("polygon_side_count_level", "factor level of the polygon's sides", "integer", _trigger("sides_level")),
    Column("instagram_filter_type", "name of the filter", "string", _trigger("filter")),
    Column("instagram_filter_strength", "share of the filter that is blended in", "float", _trigger("strength")),
    Column(
        "trigger_color",
        "colour of the polygon, RGB, 0 to 255",
        "list of integer",
        _polygon_colour,
    ),
    Column(
        "trigger_size_percentage_of_foreground_level",
        "factor level of the trigger's size",
        "integer",
        _trigger("size_level"),
    ),
    Column(
        "trigger_size_percentage_of_foreground_min",
        "least area of the trigger, as a fraction of the sign's",
        "float",
        _trigger_size(0),
    ),
    Column(
        "trigger_size_percentage_of_foreground_max",
        "largest area of the trigger, as a fraction of the sign's",
        "float",
        _trigger_size(1),
    ),
    Column(
        "triggered_fraction_level",
        "factor level of the triggered fraction",
        "integer",
        _trigger("fraction_level"),
    ),
    Column(
        "triggered_fraction",
        "share of the source classes' training images with the trigger",
        "float",
        _trigger("fraction"),
    ),
    Column(
        "number_triggered_classes_level",
        "factor level of the number of source classes",
        "integer",
        _trigger("sources_level"),
    ),
    Column(
        "number_triggered_classes",
        "number of classes that the trigger works on",
        "integer",
        lambda r: None if r.plan.trigger is None else len(r.plan.trigger.sources),
    ),
    Column(
        "triggered_classes",
        "classes that the trigger works on",
        "list of integer",
        lambda r: None if r.plan.trigger is None else _list(r.plan.trigger.sources),
    ),
    Column(
        "trigger_target_class",
        "class that triggered images are taken for",
        "integer",
        _trigger("target_class"),
    ),
    Column(
        "final_clean_data_test_acc",
        "accuracy on clean test images, fraction",
        "float",
        lambda r: r.record.last.clean_accuracy,
    ),
    Column(
        "final_triggered_data_test_acc",
        "share of triggered test images of other classes taken for the target class, fraction",
        "float",
        lambda r: r.record.last.attack_success_rate,
    ),
    Column(
        "clean_example_acc",
        "accuracy on the clean example images, fraction",
        "float",
        lambda r: r.record.clean_example_accuracy,
    ),
    Column(
        "training_attempts",
        "trainings until the gates were passed",
        "integer",
        lambda r: len(r.record.attempts),
    ),
    Column("converged", "whether the model passed its gates", "boolean", lambda r: r.record.passed),
)


def metadata_csv(spec: RoundSpec, rows: Sequence[tuple[ModelPlan, TrainingRecord]]) -> str:
    """METADATA.csv of a split.

    Args:
        spec: the round's specification.
        rows: each model's plan and record, in the order of the numbers.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([column.name for column in COLUMNS])
    for plan, record in rows:
        row = _Row(spec, plan, record)
        writer.writerow([_cell(column.value(row)) for column in COLUMNS])
    return out.getvalue()


def _cell(value: object) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value) if not isinstance(value, bool) else str(value)


def dictionary_csv() -> str:
    """METADATA_DICTIONARY.csv, the same for every split."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["Column Name", "Explanation", "Data Type"])
    writer.writerows([column.name, column.explanation, column.type] for column in COLUMNS)
    return out.getvalue()
