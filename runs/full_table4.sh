#!/usr/bin/env bash
# Table 4 at full size: CLIP-ViT-B/32 on eight vision tasks (bench clip8 --experiment table4).
# BASE is openai/clip-vit-base-patch32, downloaded; the other variables are those of runs/full_clip.sh.
set -euo pipefail
EXPERIMENT=table4 exec "$(dirname "$0")/full_clip.sh"
