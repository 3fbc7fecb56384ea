#!/usr/bin/env bash
# Table 6: parts of copa switched off.
# ITEMS, ADAPTERS (shared or own), ZOO and OUT may be set from outside; a killed run goes on.
set -euo pipefail
cd "$(dirname "$0")/.."
out="${OUT:-runs/out}"
bench=(copamerge bench mini --items "${ITEMS:-1000}" --adapters "${ADAPTERS:-shared}" ${ZOO:+--zoo "$ZOO"} --answers "$out/answers")
"${bench[@]}" --experiment table6 -o "$out/table6"
copamerge report "$out/table6" -o "$out/report-table6" --overwrite
