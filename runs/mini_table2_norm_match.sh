#!/usr/bin/env bash
# Table 2 with one scale rule for all methods: every layer at the adapters' mean norm.
# ITEMS, ADAPTERS (shared or own), ZOO and OUT may be set from outside; a killed run goes on.
set -euo pipefail
cd "$(dirname "$0")/.."
out="${OUT:-runs/out}"
bench=(copamerge bench mini --items "${ITEMS:-1000}" --adapters "${ADAPTERS:-shared}" ${ZOO:+--zoo "$ZOO"} --answers "$out/answers")
"${bench[@]}" --experiment table2-norm-match -o "$out/table2-norm-match"
copamerge report "$out/table2-norm-match" -o "$out/report-table2-norm-match" --overwrite
