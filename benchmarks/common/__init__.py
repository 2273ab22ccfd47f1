"""Programs and fleets that several benchmarks run: the contenders, and targets made of files."""
