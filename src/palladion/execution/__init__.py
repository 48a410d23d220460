"""Run a submission on every data point of a split, and say what became of each.

- :mod:`~palladion.execution.launcher`: the small program between Palladion and what it runs
- :mod:`~palladion.execution.processes`: run one program through it, measured and limited
- :mod:`~palladion.execution.staging`: what a submission gets to see of one data point
- :mod:`~palladion.execution.outcome`: what became of one data point
- :mod:`~palladion.execution.data_points`: run a submission on one data point
- :mod:`~palladion.execution.configuration`: let a detector learn from the train split
- :mod:`~palladion.execution.journal`: what is done already, so that an interrupted evaluation goes on
- :mod:`~palladion.execution.evaluation`: all of it
"""

from palladion.execution.data_points import DataPointRunner, PlainRunner
from palladion.execution.evaluation import Evaluation, Options, evaluate
from palladion.execution.outcome import Failure, Outcome

__all__ = ["DataPointRunner", "Evaluation", "Failure", "Options", "Outcome", "PlainRunner", "evaluate"]
