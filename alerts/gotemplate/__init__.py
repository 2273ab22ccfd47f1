"""Go's text/template, for the texts of Prometheus rule files: parsed once, executed over plain Python values.

A Go value is: str; bool; int; float (a float64); None (nil); dict with text keys (a map); tuple (a slice); and the
records of `values`. What is refused when a text is parsed, and what only when it is executed, is as in Go.
"""
