#!/usr/bin/env bash
# Figure 6c: mean and standard deviation over five sets of items, and over merge seeds for DARE.
# ITEMS, ADAPTERS (shared or own), ZOO and OUT may be set from outside; a killed run goes on.
set -euo pipefail
cd "$(dirname "$0")/.."
out="${OUT:-runs/out}"
bench=(copamerge bench mini --items "${ITEMS:-1000}" --adapters "${ADAPTERS:-shared}" ${ZOO:+--zoo "$ZOO"} --answers "$out/answers")
runs=()
for seed in 0 1 2 3 4; do
  "${bench[@]}" --experiment figure6c --seed "$seed" -o "$out/figure6c-seed$seed"
  runs+=("$out/figure6c-seed$seed")
done
copamerge report "${runs[@]}" -o "$out/report-figure6c" --overwrite
