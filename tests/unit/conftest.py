"""Settings of all unit tests."""

from hypothesis import HealthCheck, settings

# a busy machine is not a failing test
settings.register_profile("lab", deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("lab")
