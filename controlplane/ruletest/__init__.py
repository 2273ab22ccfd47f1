"""promtool's unit tests of rules, run with the evaluator of alerting, and a linter of rule files."""
