"""promtool's unit tests of rules, run as alerting itself runs them; and a linter of rule files."""
