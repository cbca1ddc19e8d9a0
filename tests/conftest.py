"""What holds for every test: no call leaves the machine, nothing is kept, models have a thread."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from tests.conftest_calls import ask as ask
from tests.conftest_commands import run as run
from tests.conftest_dspy import quiet_dspy as quiet_dspy
from tests.conftest_models import litellm_local as litellm_local
from tests.conftest_models import local_engine as local_engine
from tests.conftest_models import model_file as model_file

if TYPE_CHECKING:
    from collections.abc import Iterator

os.environ["MTIPROMPT_ALLOW_REQUESTS"] = "0"
os.environ["MTIPROMPT_THREADS"] = "1"
# a worker of pytest-xdist is born with Ctrl-C ignored, and so would be what it starts
signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile("default", max_examples=50, deadline=None, print_blob=True)
settings.register_profile("fuzz", max_examples=2000, deadline=None, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


@pytest.fixture(scope="session", autouse=True)
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The folder of the reply cache: a new one, so that no earlier run answers a test."""
    with pytest.MonkeyPatch.context() as patch:
        folder = str(tmp_path_factory.mktemp("replies"))
        patch.setenv("MTIPROMPT_CACHE_DIR", folder)
        yield folder
