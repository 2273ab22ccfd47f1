"""The protocols of clients and engines: OpenAI, Anthropic, Ollama, Triton and KServe v2."""
