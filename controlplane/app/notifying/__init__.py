"""Construction of notifiers from their sections: `recipes.py` by kind, `secrets.py` their secrets."""
