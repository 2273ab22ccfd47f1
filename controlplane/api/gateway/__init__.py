"""Routes about usage through gateways."""
