"""The choice of version and backend for each request, and the queue before it."""
