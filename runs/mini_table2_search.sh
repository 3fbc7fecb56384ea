#!/usr/bin/env bash
# Table 2 with the same small search of the scale for all, on the validation split.
# ITEMS, ADAPTERS (shared or own), ZOO and OUT may be set from outside; a killed run goes on.
set -euo pipefail
cd "$(dirname "$0")/.."
out="${OUT:-runs/out}"
bench=(copamerge bench mini --items "${ITEMS:-1000}" --adapters "${ADAPTERS:-shared}" ${ZOO:+--zoo "$ZOO"} --answers "$out/answers")
"${bench[@]}" --experiment table2-search -o "$out/table2-search"
copamerge report "$out/table2-search" -o "$out/report-table2-search" --overwrite
