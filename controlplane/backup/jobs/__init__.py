"""Backup jobs of the running control plane: each run is a child process that runs a verb `backup …`.

Start reading at `run.py`: it records a run and its end. `command.py` has the words of the verbs, `child.py` reads
a child and stops it, and the child begins as `leashed.py`.
"""
