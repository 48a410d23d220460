"""The language tracks: files of inputs and answers, and what they are worth. Needs neither torch nor a network.

- :mod:`~palladion.tracks.records`: rows of JSON, JSONL, TSV and CSV files, as untrusted data
- :mod:`~palladion.tracks.inputs`: the sentence or the messages of a row, its label or its ground truth
- :mod:`~palladion.tracks.outputs`: files of predicted labels and generated texts, with every fault of one
- :mod:`~palladion.tracks.meta`: ``meta.json``: what attacks want, and when an answer is theirs
- :mod:`~palladion.tracks.validation`: a folder of clean and poisoned rows whose truth is known
- :mod:`~palladion.tracks.track_file`: ``track.yaml``: what the participants of one phase need to know
- :mod:`~palladion.tracks.evaluation`: utility, attack success and the scores made of them, with intervals
- :mod:`~palladion.tracks.sealed`: the outputs of a whole phase against its sealed answers
"""
