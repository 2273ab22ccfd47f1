"""The content of a model's version: its digest and facts, on disk and in snapshots, with links followed.

Start reading at `reading.py`. `child.py` has it read by a child process, so that the control plane is not slowed down.
"""
