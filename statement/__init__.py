"""A gateway's statement as evidence: which rows a file has, what words and cells mean, what a row says.

Pure Python. What cannot be read is said to be unclear, with why; nothing is guessed that changes what was
paid. The models around it are in ``models/statement*.py``.
"""
