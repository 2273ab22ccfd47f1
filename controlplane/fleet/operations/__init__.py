"""Views of the gateways' routes, of the cost, and of the control plane's own health."""
