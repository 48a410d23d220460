"""What is due, and who does it: the worker, evaluating submissions, opening and concluding stages, deliveries.

Everything that is due is a row of the table of jobs (:mod:`palladion.storage.queue`). Nothing here knows of HTTP.

- :mod:`~palladion.jobs.context`: what all of it is handed
- :mod:`~palladion.jobs.worker`: claims jobs and does them, with heartbeats
- :mod:`~palladion.jobs.evaluating`, :mod:`~palladion.jobs.scoring`, :mod:`~palladion.jobs.detecting`: evaluations
- :mod:`~palladion.jobs.telling`, :mod:`~palladion.jobs.placing`, :mod:`~palladion.jobs.standing`: what is told of
  scores, by which of them submissions rank, and how certain the ranks are
- :mod:`~palladion.jobs.opening`, :mod:`~palladion.jobs.conclusion`: stages
- :mod:`~palladion.jobs.scheduler`: what is due by date, and what nobody heard of any more
- :mod:`~palladion.jobs.deliveries`, :mod:`~palladion.jobs.news`: who is told of what
- :mod:`~palladion.jobs.validation`: what is wrong with a submission, before it costs anything
- :mod:`~palladion.jobs.scorers`, :mod:`~palladion.jobs.versions`: versions of the scorer, and scoring again
- :mod:`~palladion.jobs.processes`: one function call in a process of its own, within limits
"""
