"""Settings of the unit tests."""

from hypothesis import settings

# Nothing is timed, and nothing is left behind in the folder from which the tests run.
settings.register_profile("unit", deadline=None, database=None)
settings.load_profile("unit")
