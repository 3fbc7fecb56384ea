#!/usr/bin/env bash
# Figure 4: number of merged tasks.
# ITEMS, ADAPTERS (shared or own), ZOO and OUT may be set from outside; a killed run goes on.
set -euo pipefail
cd "$(dirname "$0")/.."
out="${OUT:-runs/out}"
bench=(copamerge bench mini --items "${ITEMS:-1000}" --adapters "${ADAPTERS:-shared}" ${ZOO:+--zoo "$ZOO"} --answers "$out/answers")
"${bench[@]}" --experiment figure4 -o "$out/figure4"
copamerge report "$out/figure4" -o "$out/report-figure4" --overwrite
