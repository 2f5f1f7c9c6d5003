"""What the tests of this room are given."""

import pytest

from tests.batch import inside
from tests.batch import runs


@pytest.fixture(scope='module')
def forker(tmp_path_factory):
  with runs.Forker(tmp_path_factory.mktemp('told')) as one:
    yield one


@pytest.fixture
def session():
  one = inside.make_session()
  yield one
  one.engine.close()
