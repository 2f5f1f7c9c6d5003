"""Intervals and tests, against scipy and against their definitions."""

import doctest
import itertools

import numpy as np
import pytest
from scipy import stats

from chatjax.evals import normalize
from chatjax.evals import statistics


@pytest.mark.parametrize('module', [statistics, normalize])
def test_the_examples_of_the_docstrings(module):
  assert doctest.testmod(module).failed == 0


@pytest.mark.parametrize(
  ('successes', 'trials'), [(0, 7), (3, 9), (9, 9), (87, 164), (1, 10_000)]
)
def test_wilson_is_scipys(successes, trials):
  want = stats.binomtest(successes, trials).proportion_ci(method='wilson')
  got = statistics.wilson(successes, trials)
  assert got == pytest.approx((want.low, want.high), abs=1e-12)


@pytest.mark.parametrize(
  ('first', 'second'), [(0, 0), (5, 5), (1, 9), (0, 12), (700, 900)]
)
def test_mcnemar_is_scipys_sign_test(first, second):
  if first + second == 0:
    assert statistics.mcnemar(0, 0) == 1.0
    return
  want = stats.binomtest(first, first + second, 0.5).pvalue
  assert statistics.mcnemar(first, second) == pytest.approx(want, rel=1e-9)
  assert statistics.mcnemar(second, first) == statistics.mcnemar(first, second)


def test_pass_at_k_is_the_share_of_drawn_groups_that_pass():
  for samples, passed in [(5, 0), (5, 2), (6, 5), (6, 6)]:
    outcomes = [True] * passed + [False] * (samples - passed)
    for k in range(1, samples + 1):
      groups = list(itertools.combinations(outcomes, k))
      want = sum(map(any, groups)) / len(groups)
      got = statistics.pass_at_k(samples, passed, k)
      assert got == pytest.approx(want, abs=1e-12)
  with pytest.raises(ValueError, match='pass@3 of 1 passed in 2'):
    statistics.pass_at_k(2, 1, 3)


def test_the_bootstrap_holds_the_mean_as_often_as_it_says():
  rng = np.random.default_rng(0)
  held = 0
  for seed in range(200):
    values = rng.exponential(1.0, 60)
    low, high = statistics.bootstrap(values, seed=seed, resamples=1000)
    held += low <= 1.0 <= high
  assert 0.88 <= held / 200 <= 0.985  # 95 %, less some skew


def test_the_bootstrap_is_its_seed():
  values = np.random.default_rng(0).random(50)
  one = statistics.bootstrap(values, seed=1)
  assert one == statistics.bootstrap(values, seed=1)
  assert one != statistics.bootstrap(values, seed=2)
  assert one != statistics.bootstrap(values, seed=-1)


def test_a_mean_says_how_its_interval_was_made():
  share = statistics.estimate([1.0, 0.0, 1, True], seed=0)
  assert (share.mean, share.method, share.count) == (0.75, 'Wilson', 4)
  mean = statistics.estimate([1.0, 0.5] * 10, seed=0)
  assert (mean.mean, mean.method) == (0.75, 'bootstrap')
  few = statistics.estimate([1.0, 0.5], seed=0)
  assert (few.mean, few.method) == (0.75, 'Wilson bound')
  with pytest.raises(ValueError, match='no values'):
    statistics.estimate([], seed=0)


@pytest.mark.parametrize('count', [1, 3, 19, 20, 500])
@pytest.mark.parametrize('value', [0.0, 0.25, 1.0])
def test_equal_values_are_not_certain(count, value):
  one = statistics.estimate([value] * count, seed=0)
  assert 0 <= one.low <= value <= one.high <= 1
  assert 0.7 / count < one.high - one.low < 4 / count
  if value in (0, 1):
    same = statistics.bound_of_equals(value, count, (0, 1))
    assert (one.low, one.high) == pytest.approx(same, abs=1e-12)
  gain = statistics.difference([value] * count, seed=0)
  assert -1 <= gain.low <= value <= gain.high <= 1
  assert gain.high - gain.low > one.high - one.low


@pytest.mark.parametrize('count', [2, 5, 12])
@pytest.mark.parametrize('weights', [(4, 1, 1), (1, 8, 1), (0, 1, 9)])
def test_few_values_hold_the_mean_as_often_as_they_say(count, weights):
  places = np.array([0.0, 0.5, 1.0])
  shares = np.array(weights) / sum(weights)
  rng = np.random.default_rng(0)
  held = 0
  for values in rng.choice(places, (500, count), p=shares).tolist():
    one = statistics.estimate(values, seed=0)
    held += one.low <= shares @ places <= one.high
  assert held / 500 > 0.92


@pytest.mark.parametrize(
  ('name', 'text', 'want'),
  [
    ('none', ' A ', ' A '),
    ('strip', ' A\n', 'A'),
    ('lower', ' Straße', 'strasse'),
    ('words', "An apple; the Cat's tail", 'apple cats tail'),
    ('words', 'theatre', 'theatre'),
    ('first_line', '\n \n 4 \nsince 2+2', '4'),
    ('first_line', '', ''),
    ('number', 'It is $1,234.00.', '1234'),
    ('number', '3 apples, -0.50 left', '-0.5'),
    ('number', '-0', '0'),
    ('number', '.5', '0.5'),
    ('number', 'none', ''),
    ('number', 'x = \u22125', '-5'),
    ('number', '10-5', '5'),
    ('number', 'pages 10-15', '15'),
    ('number', 'GPT-4', '4'),
    ('number', '10 - -.5', '-0.5'),
    ('number', '(-3)', '-3'),
  ],
)
def test_normalizations(name, text, want):
  assert normalize.NORMALIZATIONS[name](text) == want
