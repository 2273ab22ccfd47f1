"""Trees of files as they are found on disk, and where their files are cut into chunks."""
