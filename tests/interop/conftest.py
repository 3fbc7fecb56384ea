"""Adapters made by PEFT, real adapters, and bases to load them on."""

import os

# Before huggingface_hub is imported: nothing here may look for the network.
os.environ["HF_HUB_OFFLINE"] = "1"

import json
from pathlib import Path

import pytest
