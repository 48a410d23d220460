"""Run a submission on every data point of a split, and say what became of each.

- :mod:`~palladion.execution.sandbox`: where submissions run; the back ends and what stands behind them
- :mod:`~palladion.execution.environments`: the Python environments that they run in
- :mod:`~palladion.execution.staging`: copies of data points that say nothing but what is in them
- :mod:`~palladion.execution.data_points`: run a submission on one data point
- :mod:`~palladion.execution.outcome`: what became of one data point
- :mod:`~palladion.execution.configuration`: let a detector learn from the train split
- :mod:`~palladion.execution.journal`: what is done already, so that an interrupted evaluation goes on
- :mod:`~palladion.execution.slots`: how many data points run at a time, shared by evaluations; how they are stopped
- :mod:`~palladion.execution.evaluation`: all of it
- :mod:`~palladion.execution.reproduction`: run the code of a submission of outputs, and see whether it makes them
- :mod:`~palladion.execution.processes`: run one program, measured, and leave nothing of it running

Nothing is imported here: the sandbox's supervisor, which starts with every evaluation, needs little of it, and must not
have a second thread.
"""
