"""Collection of the fleet's metrics: targets, scrapes, and the canonical names of scraped samples.

Start at `scraping/scrape.py` and `catalogue/catalogue.yaml`. This package imports nothing else of ours.
"""
