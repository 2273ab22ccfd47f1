"""A strict Kubernetes API server in memory, over HTTP/1.1 on loopback, held to transcripts of kube-apiserver 1.36."""
