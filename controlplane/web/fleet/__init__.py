"""The pages of the fleet and of its targets.

Start at `page.py` (the fleet) and `targets.py`. The other modules turn answers of the API into what a page draws.
"""
