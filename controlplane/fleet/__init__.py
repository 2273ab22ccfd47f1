"""The read model behind API, console and command line: models, targets, alerts, GPUs and their numbers.

Start at `reader.py`. `numbers.py` chooses the source of each number.
"""
