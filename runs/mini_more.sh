#!/usr/bin/env bash
# For figures 5 and 2c, what does not ship: adapters of ranks 4, 8, 32 and 64, and models fine-tuned
# whole. They are added to ZOO (by default a copy of the zoo that ships); a killed run goes on.
set -euo pipefail
cd "$(dirname "$0")/.."
zoo="${ZOO:-runs/out/zoo}"
if [[ ! -d "$zoo/base" ]]; then
  mkdir -p "$zoo"
  cp -r src/copamerge/zoo/mini/. "$zoo"
fi
say() { echo "$(date -u +%H:%M:%S) $*"; }
train() {
  say "copamerge train $*"
  copamerge train "$@"
}
{
  say "begin, $(nproc) cores"
  for pair in "4 8" "32 64"; do
    jobs=()
    for rank in $pair; do
      train mini-adapters --base "$zoo/base" --rank "$rank" --threads 1 -o "$zoo/rank$rank" &
      jobs+=($!)
    done
    for job in "${jobs[@]}"; do wait "$job"; done
  done
  train mini-full --base "$zoo/base" -o "$zoo/full"
  python -m copamerge.bench.zoo "$zoo"
  say "end, $SECONDS s"
} 2>&1 | tee -a "$zoo.more.log"
