"""Transcripts of a real kube-apiserver, and their replay against the test server."""
