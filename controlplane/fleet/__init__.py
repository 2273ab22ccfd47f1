"""The read model behind API, console and command line: what runs, how well, and since when.

Start at `reader.py`; `numbers.py` chooses the source of each number.
"""
