"""Usage records: the journal on the gateway's disk, and its way to the control plane."""
