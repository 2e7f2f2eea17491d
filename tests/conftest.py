"""What every test file shares."""

import os

import jaxtyping
import pytest
from hypothesis import settings

from tests.chromium import launch
from tests.widget_pages import jupyterlab

# No test fails for being slow. In CI the same examples are tried every time.
settings.register_profile("lmcourse", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("lmcourse")


@pytest.fixture(autouse=True)
def _type_checker_off_for_wrong_input(request):
    """A test of an error message must meet our error, as a user does, not the type checker's."""
    if request.node.get_closest_marker("wrong_input"):
        jaxtyping.config.update("jaxtyping_disable", True)
        yield
        jaxtyping.config.update("jaxtyping_disable", False)
    else:
        yield


@pytest.fixture(scope="module")
def browser():
    """A headless Chromium; for one module only, because no event loop can run beside it."""
    with launch() as browser:
        yield browser


@pytest.fixture(scope="module")
def lab(request, tmp_path_factory):
    """The address of a JupyterLab whose notebook has the module's ``LAB_CELLS``."""
    with jupyterlab(tmp_path_factory.mktemp("lab"), request.module.LAB_CELLS) as address:
        yield address
