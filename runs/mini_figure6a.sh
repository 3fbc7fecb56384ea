#!/usr/bin/env bash
# Figure 6a: pruning rate.
# ITEMS, ADAPTERS (shared or own), ZOO and OUT may be set from outside; a killed run goes on.
set -euo pipefail
cd "$(dirname "$0")/.."
out="${OUT:-runs/out}"
bench=(copamerge bench mini --items "${ITEMS:-1000}" --adapters "${ADAPTERS:-shared}" ${ZOO:+--zoo "$ZOO"} --answers "$out/answers")
"${bench[@]}" --experiment figure6a -o "$out/figure6a"
copamerge report "$out/figure6a" -o "$out/report-figure6a" --overwrite
