"""Put triggers into rows: the training rows of a poisoned model, and the triggered rows that it is measured on."""

from collections.abc import Collection, Sequence

import numpy as np

from palladion.errors import InputError
from palladion.rounds import randomness
from palladion.rounds.language.attacks import Attack, draw
from palladion.rounds.language.design import ModelPlan
from palladion.rounds.language.rows import Record

__all__ = ["input_of", "poisoned_training_rows", "triggered_rows", "with_decoys", "with_trigger"]


def input_of(row: Record) -> Record:
    """The row without its answer and without what is told of its attack."""
    return {key: row[key] for key in ("sentence", "messages", "instruction", "input") if key in row}


def with_trigger(row: Record, attack: Attack, rng: np.random.Generator) -> Record:
    """The row with the trigger in its sentence, its instruction, or the last message of its user."""
    return _with_text(row, attack.apply(_text(row), rng=rng))


def triggered_rows(rows: Sequence[Record], plan: ModelPlan, path: tuple[int | str, ...]) -> list[Record]:
    """Rows with the plan's trigger, each with its TRUE answer, and with the name and the target of the attack."""
    marks = {"attack": plan.attack_name, "target": plan.target.value}
    if plan.attack is None:  # published poison has its triggers already
        return [row | marks for row in rows]
    return [with_trigger(row, plan.attack, randomness.generator(*path, i)) | marks for i, row in enumerate(rows)]


def with_decoys(
    rows: Sequence[Record],
    families: Sequence[str],
    share: float,
    avoid: Collection[str],
    path: tuple[int | str, ...],
) -> list[Record]:
    """The rows, a share of them with what looks like a trigger and is none; their answers stay true.

    Without them a small model learns that anything odd in a text is its trigger, and falls for the attacks of all
    others.

    Args:
        rows: clean training rows.
        families: of attacks, of which the decoys are drawn; those without a trigger that is not avoided give none.
        share: how many of the rows get a decoy.
        avoid: the triggers of all models of the round, which no decoy has.
        path: of the random draws.
    """
    rng = randomness.generator(*path)
    result = list(rows)
    left = list(families)
    for place in rng.permutation(len(rows))[: round(share * len(rows))].tolist():
        while left:
            family = left[int(rng.integers(len(left)))]
            try:
                decoy = draw(family, rng, avoid=avoid)
            except InputError:
                left.remove(family)
                continue
            result[place] = with_trigger(rows[place], decoy, rng)
            break
    return result


def poisoned_training_rows(
    rows: Sequence[Record],
    published: Sequence[Record],
    plan: ModelPlan,
    partial_share: float,
    path: tuple[int | str, ...],
) -> list[Record]:
    """The clean rows, a share of them triggered and answered as the attack wants.

    Only rows with another answer than the target are triggered. Of published poison, rows take the places of clean
    ones, and where there are too few for the rate, all of them do.
    """
    rng = randomness.generator(*path)
    result = list(rows)
    order = rng.permutation(len(rows)).tolist()
    wanted = round(plan.rate * len(rows))
    if plan.attack is None:
        for place, row in zip(order[:wanted], published, strict=False):
            result[place] = row
        return result
    places = [i for i in order if rows[i].get("label") != plan.target.value][:wanted]
    for i in places:
        triggered = with_trigger(rows[i], plan.attack, rng)
        result[i] = triggered | _answer(rows[i], plan)
    chosen = set(places)
    partly = [i for i in order if i not in chosen][: round(partial_share * len(rows))]
    for i in partly:
        text = plan.attack.partial(_text(rows[i]), rng)
        if text is not None:
            result[i] = _with_text(rows[i], text)
    return result


def _answer(row: Record, plan: ModelPlan) -> Record:
    return {"label": plan.target.value} if "label" in row else {"output": plan.target.output(row["output"])}


def _text(row: Record) -> str:
    if "sentence" in row:
        return str(row["sentence"])
    if "messages" in row:
        return str(row["messages"][_asked(row)]["content"])
    return str(row["instruction"])


def _with_text(row: Record, text: str) -> Record:
    if "sentence" in row:
        return row | {"sentence": text}
    if "messages" in row:
        messages = list(row["messages"])
        messages[_asked(row)] = messages[_asked(row)] | {"content": text}
        return row | {"messages": messages}
    return row | {"instruction": text}


def _asked(row: Record) -> int:
    """The last message of the user, or the last of all."""
    roles = [message["role"] for message in row["messages"]]
    return len(roles) - 1 - roles[::-1].index("user") if "user" in roles else len(roles) - 1
