"""Fixtures: where a model runs."""

import pytest
import shadernet

PROVIDERS = [p for p in shadernet.get_all_providers() if p in shadernet.get_available_providers()]


@pytest.fixture(params=PROVIDERS)
def providers(request):
    """Each provider of this machine, alone."""
    return [request.param]
