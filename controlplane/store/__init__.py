"""The database: tables, records, leases, the outbox, revisions and migrations, on SQLite or PostgreSQL.

Start at `database.py` and `lease.py`. Rows stay inside; records leave.
"""
