"""The series store's files: a journal, mapped files of new samples, and packed files of old ones.

Start at `folder.py`; `recovery.py` reads a folder after a crash, and `docs/adr/0004-*.md` has the reasons.
"""
