#!/usr/bin/env bash
# What one NVIDIA card gives, in one table; about five minutes on a card. Without one: bash benchmarks/gpu.sh cpu
# Installs nothing where torch and open_clip can be imported; else the package as it lies here.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-$(test -x .venv/bin/python && echo .venv/bin/python || command -v python3)}
device=${1:-cuda}
out=${OUT:-benchmarks/results}
"$python" -c 'import torch, open_clip, timm, xarray' 2>/dev/null || "$python" -m pip install --quiet --editable .
export PYTHONPATH=$PWD
if test "$device" = cuda; then
  nvidia-smi --query-gpu=name,memory.total,driver_version --format=csv
  timeout 450 "$python" benchmarks/gpu.py --device cuda --out "$out"
else
  "$python" benchmarks/gpu.py --device "$device" --small --out "$out"
fi
