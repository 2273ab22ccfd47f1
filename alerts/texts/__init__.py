"""Texts of one's own for messages: Alertmanager's templates, rendered on the data that Alertmanager gives them."""
