"""Tasks beside the loop of rollouts: orders to drivers, questions to versions, works. Their results reach decide()."""
