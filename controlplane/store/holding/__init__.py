"""Silences and acknowledgements as rows. Dispatch reads them in the transaction of its decision."""
