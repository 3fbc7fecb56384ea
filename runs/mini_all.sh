#!/usr/bin/env bash
# Every table and figure on the mini suite, and one report on all of them.
# ITEMS, ADAPTERS (shared or own), ZOO and OUT may be set from outside; a killed run goes on.
set -euo pipefail
cd "$(dirname "$0")/.."
for name in table2 table2_norm_match table2_search table6 table7 \
  figure2a figure2b figure4 figure6a figure6b figure6c tradeoff; do
  runs/mini_"$name".sh
done
# Figures 5 and 2c need more than what ships: runs/mini_more.sh.
if [[ -d "${ZOO:-runs/out/zoo}/rank64" ]]; then runs/mini_figure5.sh; fi
runs/mini_figure2c.sh
out="${OUT:-runs/out}"
runs=()
for run in "$out"/*/run.json; do runs+=("$(dirname "$run")"); done
copamerge report "${runs[@]}" -o "$out/report" --overwrite
