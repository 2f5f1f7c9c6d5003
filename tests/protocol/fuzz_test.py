"""Random JSON is parsed or refused, never anything else, and fast."""

import json
import re
import time

import hypothesis
from hypothesis import strategies as st

from chatjax import types
from chatjax.protocol import errors
from chatjax.protocol import limits as limits_lib
from chatjax.protocol import parameters
from chatjax.protocol import request as request_lib
from tests.protocol import samples
from tests.protocol import wrong_values_test

LIMITS = limits_lib.Limits()
# Words of the interface: random ones would rarely mean anything.
WORDS = sorted(
  {word for row in parameters.TABLE for word in re.findall(r'\w+', row.allowed)}
  | {re.split(r'[.\[]', row.path)[0] for row in parameters.TABLE}
  | {step for row in parameters.TABLE for step in re.findall(r'\w+', row.path)}
)
TEXT = st.sampled_from(WORDS) | st.text(max_size=8)
SCALARS = (
  st.none() | st.booleans() | st.integers() | st.floats() | TEXT
  | st.sampled_from([2**63, -(2**63) - 1, 10**400, 1e308])
)  # fmt: skip
VALUES = st.recursive(
  SCALARS,
  lambda inner: (
    st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4)
  ),
  max_leaves=20,
)
CHECKED = hypothesis.settings(
  max_examples=300,
  deadline=None,
  suppress_health_check=[hypothesis.HealthCheck.too_slow],
)


def check(parse, body):
  for attempt in range(3):  # a collection of garbage may take its time once
    start_s = time.thread_time()
    error = None
    try:
      parsed = parse(body, limits=LIMITS)
    except types.RequestError as refused:
      error = refused
    if time.thread_time() - start_s < 0.05:
      break
    assert attempt < 2, 'slow, three times'
  if error is None:
    assert isinstance(parsed, request_lib.Parsed)
    return
  assert error.status == 400
  shown = json.loads(json.dumps(errors.body(error)))['error']
  assert len(shown['param'] or '') <= 1000
  assert shown['message']


@CHECKED
@hypothesis.given(st.dictionaries(TEXT, VALUES, max_size=6))
def test_random_objects(body):
  check(request_lib.parse, body)
  check(request_lib.parse, samples.body(**body))


@CHECKED
@hypothesis.given(st.sampled_from(wrong_values_test.ALL), VALUES, st.booleans())
def test_right_requests_with_something_else_inside(place, value, is_added):
  idx, where = place
  body = samples.SAMPLES[idx]
  if is_added and isinstance(wrong_values_test.at(body, where), dict):
    where = (*where, 'a')
  changed = wrong_values_test.replaced(body, where, value)
  check(request_lib.parse, changed)


@CHECKED
@hypothesis.given(st.sampled_from(wrong_values_test.ALL), st.data())
def test_bytes_that_were_cut_or_changed(place, data):
  body = json.dumps(samples.SAMPLES[place[0]]).encode()
  at = data.draw(st.integers(0, len(body)))
  new = data.draw(st.binary(max_size=3))
  skipped = data.draw(st.integers(0, 3))
  check(request_lib.parse_json, body[:at] + new + body[at + skipped :])
