"""Claim: no hostile submission gets what it is after, and the honest one beside it is scored as if it were alone.

Prints, for each attack of ``tests/hostile``, what its data points got and what they had to get. Ends with 1 where an
attack succeeds that is not known to.
"""

import argparse
import contextlib
import json
import os
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.hostile.arena import Arena, Bout  # noqa: E402
from tests.hostile.catalogue import ATTACKS  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, default=Path(__file__).parent / "results" / "hostile.json")
    parser.add_argument("--only", metavar="WORD", nargs="*", help="attacks whose name or aim has such a word in it")
    options = parser.parse_args()
    words = options.only or [""]
    chosen = [attack for attack in ATTACKS if any(word in f"{attack.name} {attack.aim}" for word in words)]
    bouts = []
    with tempfile.TemporaryDirectory(prefix="palladion-hostile-") as folder, Arena(Path(folder)) as arena:
        print(f"{'attack':34} {'aim':30} {'mode':4} {'what it got':34} {'had to get':30} verdict")
        for attack in chosen:
            for mode in attack.modes:
                # What the submission and the progress bar say is not part of the table.
                with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stderr(nowhere):
                    bout = arena.fight(attack, mode)
                bouts.append(bout)
                print(_row(bout), flush=True)
        beside = {found for bout in bouts for found in bout.honest_beside}
        runs = sum(len(bout.honest_beside) for bout in bouts)
        print(
            f"\nthe honest one: alone {_shown(arena.alone)}; beside the attacks, in {runs} evaluations, "
            f"{'the same' if beside <= {arena.alone} else ', '.join(map(_shown, beside))}"
        )
    succeeded = [bout for bout in bouts if _verdict(bout) == "SUCCEEDED"]
    known = [bout for bout in bouts if _verdict(bout) == "known hole"]
    print(
        f"{len(chosen)} attacks, {len(bouts)} runs, {sum(bout.seconds for bout in bouts):.0f} s: "
        f"{len(succeeded)} succeeded, {len(known)} known holes"
    )
    options.json.parent.mkdir(parents=True, exist_ok=True)
    document = {
        "attacks": [
            {
                "name": bout.attack.name,
                "aim": bout.attack.aim,
                "mode": bout.mode,
                "got": bout.got,
                "must": sorted(bout.attack.must),
                "verdict": _verdict(bout),
                "faults": bout.faults,
                "hole": bout.attack.hole,
                "seconds": bout.seconds,
            }
            for bout in bouts
        ],
        "honest_alone": arena.alone,
        "honest_same_beside": beside <= {arena.alone},
        "honest_evaluations_beside": runs,
    }
    options.json.write_text(json.dumps(document, indent=2) + "\n")
    for bout in succeeded:
        print(f"{bout.attack.name} ({bout.mode}): {'; '.join(bout.faults)[:600]}")
    sys.exit(bool(succeeded))


def _verdict(bout: Bout) -> str:
    if not bout.faults:
        return "held"
    return "SUCCEEDED" if bout.attack.hole is None else "known hole"


def _row(bout: Bout) -> str:
    got = sorted(set(bout.got))
    counted = ", ".join(f"{bout.got.count(word)} {word}" for word in got)
    must = " or ".join(sorted(bout.attack.must))
    return f"{bout.attack.name:34} {bout.attack.aim:30} {bout.mode:4} {counted:34} {must:30} {_verdict(bout)}"


def _shown(answers: tuple[float | None, ...]) -> str:
    return " ".join("-" if answer is None else f"{answer:.3f}" for answer in answers)


if __name__ == "__main__":
    main()
