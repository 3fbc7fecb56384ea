#!/usr/bin/env bash
# The zoo that ships, from nothing: base, both sets of adapters, the multi-task adapter, manifest.
# ZOO may be set from outside; a killed run goes on. Its log, with times, is beside the zoo and,
# of the zoo that ships, in runs/mini_zoo.log.
set -euo pipefail
cd "$(dirname "$0")/.."
zoo="${ZOO:-runs/out/zoo}"
mkdir -p "$zoo"
say() { echo "$(date -u +%H:%M:%S) $*"; }
train() {
  say "copamerge train $*"
  copamerge train "$@"
}
{
  say "begin, $(nproc) cores"
  train mini-base -o "$zoo/base"
  # One thread each: at this size two processes on two cores are faster than one after the other.
  train mini-adapters --base "$zoo/base" --init shared --threads 1 -o "$zoo/shared" &
  shared=$!
  train mini-adapters --base "$zoo/base" --init own --threads 1 -o "$zoo/own" &
  own=$!
  wait "$shared"
  wait "$own"
  train mini-mtl --base "$zoo/base" -o "$zoo/mtl"
  say "criteria"
  python -m copamerge.bench.criteria "$zoo"
  say "end, $SECONDS s"
} 2>&1 | tee -a "$zoo.log"
