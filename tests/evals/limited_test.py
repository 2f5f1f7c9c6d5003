"""Calls with a limit: one process for all, another after a failure."""

import math
import os
import re
import signal

import pytest

from chatjax.evals import limited


@pytest.fixture
def worker():
  one = limited.Worker(0.3)
  yield one
  one.close()


def test_one_process_serves_until_a_call_takes_too_long(worker):
  first = worker.call(os.getpid)
  assert first != os.getpid()
  assert worker.call(math.gcd, 12, 18) == 6
  assert worker.call(os.getpid) == first
  for _ in range(2):
    with pytest.raises(limited.TooLong):
      worker.call(re.search, '(a+)+$', 'a' * 60 + 'b')
  assert worker.call(os.getpid) != first


def test_the_limit_is_of_one_call(worker):
  for _ in range(4):
    worker.call(sum, range(4_000_000))


def test_what_a_function_raises_is_raised(worker):
  first = worker.call(os.getpid)
  with pytest.raises(ValueError, match=r'math domain|nonnegative'):
    worker.call(math.sqrt, -1)
  assert worker.call(os.getpid) == first


def test_a_process_that_is_ended_from_outside_is_no_long_call(worker):
  os.kill(worker.call(os.getpid), signal.SIGKILL)
  assert worker.call(math.gcd, 12, 18) == 6
  with pytest.raises(limited.LimitedError, match=r'3 times .*exit code 7'):
    worker.call(os._exit, 7)


def test_a_text_of_any_size_goes_through(worker):
  text = '\ud800' + 'x' * 3_000_000
  assert worker.call(str.strip, text) == text
