"""What the database keeps of backups: their runs, and the mark of a restored database."""
