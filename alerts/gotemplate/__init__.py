"""Go's text/template, for the texts of Prometheus rule files. A text is parsed once and executed on Python values.

A Go value is: str; bool; int; float (a float64); None (nil); dict with text keys (a map); tuple (a slice); and the
records of `values`. Errors appear at the same stage as in Go: when a text is parsed, or when it is executed.
"""
