"""What models answer to one file of inputs, as mitigations ask for it: each model once, and kept as it comes."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from palladion.mitigations.contract import Answers, Context, Mitigation
from palladion.models.predictor import Predictor
from palladion.progress import progress

if TYPE_CHECKING:
    from palladion.models.prediction import PredictionJournal

__all__ = ["Answering"]


class Answering:
    """Answers the inputs of a predictor with one model after another; a model that was asked once is not asked again.

    Args:
        predictor: holds the inputs.
        kept: the file, for each model, beside which its answers are kept as they come.
        label: names the progress that is shown for each model; None shows none.
    """

    def __init__(self, predictor: Predictor, kept: Callable[[Path], Path], *, label: str | None = None) -> None:
        self._predictor, self._kept, self._label = predictor, kept, label
        self._answers: dict[Path, Answers] = {}
        self._journals: dict[Path, PredictionJournal] = {}

    def restored(
        self,
        mitigation: Mitigation,
        models: Sequence[Path],
        workspace: Path,
        *,
        base: Path | None = None,
        say: Callable[[str], None],
    ) -> Answers:
        """What a mitigation answers: its own answers, or those of the model that it restores.

        Args:
            mitigation: restores.
            models: of one task.
            workspace: an empty folder.
            base: of the models.
            say: tells the user a line.

        Raises:
            InputError: the models cannot be restored this way, or do not answer these inputs.
        """
        device, dtype = self._predictor.place()
        context = Context(
            tuple(models),
            workspace,
            base,
            inputs=[row.values for row in self._predictor.rows],
            device=str(device),
            dtype=str(dtype).removeprefix("torch."),
            predict=self.predict,
            say=say,
        )
        mitigation.check(context)
        product = mitigation.restore(context)
        return product if isinstance(product, Answers) else self.predict(product)

    def predict(self, model: Path) -> Answers:
        """What the model in a directory answers: texts, or labels with their probabilities.

        Raises:
            InputError: it cannot be opened, or does not answer these inputs.
        """
        if model not in self._answers:
            self._answers[model] = self._ask(model)
        return self._answers[model]

    def remove(self) -> None:
        """Remove what was kept on the way."""
        for journal in self._journals.values():
            journal.remove()

    def close(self) -> None:
        """Let go of what is kept on the way; it stays."""
        for journal in self._journals.values():
            journal.close()

    def _ask(self, model: Path) -> Answers:
        files = self._predictor.describe(model)
        path = self._kept(model)
        if path in self._journals:
            self._journals.pop(path).close()
        journal = self._journals[path] = self._predictor.journal(files, path)
        left = len(self._predictor.rows) - len(journal.answers)
        shown = progress(left, self._label) if self._label is not None and left else nullcontext()
        try:
            with shown as bar:
                for _ in self._predictor.answer(files, journal):
                    if bar is not None:
                        bar.advance()
        except KeyboardInterrupt:
            raise KeyboardInterrupt(f"interrupted; {self._predictor.kept(journal)}") from None
        answers = journal.in_order()
        if not self._predictor.labels_wanted:
            return Answers(texts=answers)
        import numpy as np

        probabilities = journal.probabilities()
        return Answers(labels=answers, probabilities=None if probabilities is None else np.array(probabilities))
