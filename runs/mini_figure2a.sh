#!/usr/bin/env bash
# Figure 2a: the larger or smaller half of the singular values.
# ITEMS, ADAPTERS (shared or own), ZOO and OUT may be set from outside; a killed run goes on.
set -euo pipefail
cd "$(dirname "$0")/.."
out="${OUT:-runs/out}"
bench=(copamerge bench mini --items "${ITEMS:-1000}" --adapters "${ADAPTERS:-shared}" ${ZOO:+--zoo "$ZOO"} --answers "$out/answers")
"${bench[@]}" --experiment figure2a -o "$out/figure2a"
copamerge report "$out/figure2a" -o "$out/report-figure2a" --overwrite
