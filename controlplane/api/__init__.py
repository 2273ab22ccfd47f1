"""HTTP: our own API under `/cp/v1`, Prometheus's under `/api/v1`, Alertmanager's under `/api/v2`.

Start at `app.py`; `auth.py` has the roles, and `problems.py` turns errors into answers.
"""
