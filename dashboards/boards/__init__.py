"""The dashboards, one a module. Each is a function of the Settings."""
