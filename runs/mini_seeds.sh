#!/usr/bin/env bash
# Adapters of six training seeds for runs/mini_beyond.py, two seeds at once: about half an hour of
# two quiet cores. A killed run goes on.
set -euo pipefail
cd "$(dirname "$0")/.."
for pair in "1 2" "3 4" "5 6"; do
  jobs=()
  for seed in $pair; do
    copamerge train mini-adapters --seed "$seed" --threads 1 -o "runs/out/seeds/shared$seed" &
    jobs+=($!)
  done
  for job in "${jobs[@]}"; do wait "$job"; done
done
