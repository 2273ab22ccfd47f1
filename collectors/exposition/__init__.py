"""The text exposition format: parsing, and layouts that equal bodies share.

Start at `parser.py`; `layout_cache.py` is what a scrape uses.
"""
