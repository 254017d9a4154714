#!/usr/bin/env bash
# All figures of the documents, for a machine that does nothing else; about twenty minutes on two cores. The most telling
# come first, every program writes its own file, and the documents are written at the end, however far it came.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-$(test -x .venv/bin/python && echo .venv/bin/python || command -v python3)}
# The policy is what the package sets where it is imported before torch, which these programs do not.
export PYTHONPATH=$PWD PYTHONWARNINGS=ignore OMP_WAIT_POLICY=PASSIVE
trap '"$python" benchmarks/quote.py' EXIT
"$python" benchmarks/throughput.py
"$python" benchmarks/growth.py
"$python" benchmarks/speed.py --model tiny --rounds 3 --scenes 100
