#!/usr/bin/env bash
# Figure 6b: pruning technique.
# ITEMS, ADAPTERS (shared or own), ZOO and OUT may be set from outside; a killed run goes on.
set -euo pipefail
cd "$(dirname "$0")/.."
out="${OUT:-runs/out}"
bench=(copamerge bench mini --items "${ITEMS:-1000}" --adapters "${ADAPTERS:-shared}" ${ZOO:+--zoo "$ZOO"} --answers "$out/answers")
"${bench[@]}" --experiment figure6b -o "$out/figure6b"
copamerge report "$out/figure6b" -o "$out/report-figure6b" --overwrite
