"""Keys, and the limits of key, tenant and model."""
