#!/usr/bin/env bash
# Figure 2c: distribution of the entries of A, B and full fine-tuning deltas; the models fine-tuned
# whole are drawn if runs/mini_more.sh has made them in ZOO.
# ITEMS, ADAPTERS (shared or own), ZOO and OUT may be set from outside; a killed run goes on.
set -euo pipefail
cd "$(dirname "$0")/.."
out="${OUT:-runs/out}"
bench=(copamerge bench mini --items "${ITEMS:-200}" --adapters "${ADAPTERS:-shared}" ${ZOO:+--zoo "$ZOO"} --answers "$out/answers")
# The figure is drawn from the zoo's adapters; a report is of a run, so here is a small one.
"${bench[@]}" --experiment figure2b -o "$out/figure2c"
copamerge report "$out/figure2c" -o "$out/report-figure2c" --overwrite
