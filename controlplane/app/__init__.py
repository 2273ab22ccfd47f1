"""The program put together: every part is constructed, started and stopped here and nowhere else."""
