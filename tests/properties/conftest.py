"""The Hypothesis profiles: the same examples on every push, many new ones on request."""

import os

from hypothesis import HealthCheck, settings

settings.register_profile("push", max_examples=15, deadline=None, derandomize=True, database=None)
settings.register_profile(
    "night", max_examples=500, deadline=None, suppress_health_check=list(HealthCheck)
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "push"))
