#!/usr/bin/env bash
# The zoo that ships, from nothing: base, both sets of adapters, the multi-task adapter, manifest.
# About three quarters of an hour on two cores. ZOO may be set from outside; a killed run goes on.
set -euo pipefail
cd "$(dirname "$0")/.."
zoo="${ZOO:-runs/out/zoo}"
mkdir -p "$zoo"
copamerge train mini-base -o "$zoo/base"
# One thread each: at this size two processes on two cores are faster than one after the other.
copamerge train mini-adapters --base "$zoo/base" --init shared --threads 1 -o "$zoo/shared" &
copamerge train mini-adapters --base "$zoo/base" --init own --threads 1 -o "$zoo/own" &
wait
copamerge train mini-mtl --base "$zoo/base" -o "$zoo/mtl"
python -m copamerge.bench.criteria "$zoo"
