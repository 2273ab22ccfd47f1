"""The console's pages about models, their rollouts, and queries."""
