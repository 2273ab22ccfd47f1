"""From configured addresses and files to targets."""
