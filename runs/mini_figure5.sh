#!/usr/bin/env bash
# Figure 5: rank. runs/mini_more.sh makes the adapters of other ranks.
# ITEMS, ADAPTERS (shared or own), ZOO and OUT may be set from outside; a killed run goes on.
set -euo pipefail
cd "$(dirname "$0")/.."
out="${OUT:-runs/out}"
ZOO="${ZOO:-runs/out/zoo}"
bench=(copamerge bench mini --items "${ITEMS:-1000}" --adapters "${ADAPTERS:-shared}" ${ZOO:+--zoo "$ZOO"} --answers "$out/answers")
"${bench[@]}" --experiment figure5 -o "$out/figure5"
copamerge report "$out/figure5" -o "$out/report-figure5" --overwrite
