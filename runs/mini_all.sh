#!/usr/bin/env bash
# Every table and figure on the mini suite, and one report on all of them.
# ITEMS, ADAPTERS (shared or own), ZOO and OUT may be set from outside; a killed run goes on.
set -euo pipefail
cd "$(dirname "$0")/.."
for name in table2 table2_norm_match table2_search table6 table7 \
  figure2a figure2b figure4 figure6a figure6b figure6c tradeoff; do
  runs/mini_"$name".sh
done
# Figure 5 needs adapters of other ranks, which do not ship.
if [[ -n "${ZOO:-}" && -d "$ZOO/rank4" ]]; then runs/mini_figure5.sh; fi
out="${OUT:-runs/out}"
runs=()
for run in "$out"/*/run.json; do runs+=("$(dirname "$run")"); done
copamerge report "${runs[@]}" -o "$out/report" --overwrite
