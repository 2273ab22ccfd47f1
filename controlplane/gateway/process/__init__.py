"""The gateway's processes: a supervisor, its workers, and the state that they apply."""
