# Install SGLang without what its package needs for CUDA, and a stand-in for its kernels. $1: the environment's Python.
set -e
"$1" -m pip --disable-pip-version-check install --quiet --no-deps sglang==0.5.23
site=$("$1" -c "import sysconfig; print(sysconfig.get_path('purelib'))")
cp tests/engines/absent_kernels.py "$site/absent_kernels.py"
echo "import absent_kernels" >"$site/absent_kernels.pth"
