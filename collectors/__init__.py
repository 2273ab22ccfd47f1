"""What is true of the fleet now: targets, scrapes, and the canonical names of what was scraped.

Start at `scrape.py` and `catalogue.yaml`. This package imports nothing else of ours.
"""
