#!/usr/bin/env bash
# Table 7: where copa's coefficients come from.
# ITEMS, ADAPTERS (shared or own), ZOO and OUT may be set from outside; a killed run goes on.
set -euo pipefail
cd "$(dirname "$0")/.."
out="${OUT:-runs/out}"
bench=(copamerge bench mini --items "${ITEMS:-1000}" --adapters "${ADAPTERS:-shared}" ${ZOO:+--zoo "$ZOO"} --answers "$out/answers")
"${bench[@]}" --experiment table7 -o "$out/table7"
copamerge report "$out/table7" -o "$out/report-table7" --overwrite
