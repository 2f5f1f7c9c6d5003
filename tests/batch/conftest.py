"""A process that starts commands quickly."""

import pytest

from tests.batch import runs


@pytest.fixture(scope='module')
def forker(tmp_path_factory):
  with runs.Forker(tmp_path_factory.mktemp('told')) as one:
    yield one
