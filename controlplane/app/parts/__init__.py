"""The parts of a running control plane. Each applies the changes of a configuration and has its own loops.

Start at `part.py` (the protocol and the ordered list), then read the part that you look for: `metrics.py`,
`scraping.py`, `alerting.py`, `accounts.py`, `rolling.py`, `access.py`, `housekeeping.py`. `../wiring.py` lists them.
"""
