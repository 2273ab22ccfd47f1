"""The gateway's metrics in memory that its workers share, and traces."""
