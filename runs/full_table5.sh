#!/usr/bin/env bash
# Table 5 at full size: CLIP-ViT-L/14 on eight vision tasks (bench clip8 --experiment table5).
# BASE is openai/clip-vit-large-patch14, downloaded; the other variables are those of runs/full_clip.sh.
set -euo pipefail
EXPERIMENT=table5 exec "$(dirname "$0")/full_clip.sh"
