"""Query workers: processes that answer ad-hoc queries. They are shared fairly and started when needed."""
