"""Figures: pure functions of arrays, each with the table of what it shows.

Nothing here reads a file or knows who looks. A figure is a plain dict that plotly draws, and rows that a table and a
CSV file are made of: a page shows both, and whoever has no JavaScript, or cannot see, has the rows.

- :mod:`~palladion.reports.figures.figure`: what a figure is
- :mod:`~palladion.reports.figures.style`: colours, axes, and what makes them readable on light and on dark
- :mod:`~palladion.reports.figures.points`: the data points of one evaluation, and subsets of them
- :mod:`~palladion.reports.figures.calibration`: reliability diagram
- :mod:`~palladion.reports.figures.roc`: ROC curve with its band
- :mod:`~palladion.reports.figures.confidence`: histogram of the cross-entropy, confident mistakes
- :mod:`~palladion.reports.figures.factors`: results by factor, mean effects, interactions
- :mod:`~palladion.reports.figures.sweep`: scores at every prevalence, also on paper
- :mod:`~palladion.reports.figures.holdout`: test against holdout
- :mod:`~palladion.reports.figures.rows`: the rows of one evaluation of a language track, and subsets of them
- :mod:`~palladion.reports.figures.attacks`: what is useful and what attacks still do, by task and attack
"""

__all__: list[str] = []
