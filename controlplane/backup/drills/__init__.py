"""Drills: a snapshot is restored into a scratch folder, tried there, and deleted again.

Start reading at `drill.py`. `scratch.py` makes the folder and cleans it, `plane.py` tries a control plane's snapshot.
"""
