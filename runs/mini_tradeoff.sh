#!/usr/bin/env bash
# Seen against unseen points along every method's scale.
# ITEMS, ADAPTERS (shared or own), ZOO and OUT may be set from outside; a killed run goes on.
set -euo pipefail
cd "$(dirname "$0")/.."
out="${OUT:-runs/out}"
bench=(copamerge bench mini --items "${ITEMS:-1000}" --adapters "${ADAPTERS:-shared}" ${ZOO:+--zoo "$ZOO"} --answers "$out/answers")
"${bench[@]}" --experiment tradeoff -o "$out/tradeoff"
copamerge report "$out/tradeoff" -o "$out/report-tradeoff" --overwrite
