from __future__ import annotations

import os

import pytest
from hypothesis import settings

from limbic.runtime.settings import ENV_PREFIX

# How long an example takes says nothing about whether the law holds; on a busy machine it only fails at random.
settings.register_profile("limbic", deadline=None)
settings.load_profile("limbic")


@pytest.fixture(autouse=True, scope="session")
def own_settings() -> None:
    """Tests choose their settings themselves: what the developer's shell says must not reach them."""
    for name in [name for name in os.environ if name.startswith(ENV_PREFIX)]:
        del os.environ[name]
