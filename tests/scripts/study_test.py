"""What the study of crowds asks, and how it counts differences."""

import gzip
import json
import pathlib

import pytest

SCRIPTS = pathlib.Path(__file__).parents[2] / 'scripts'


@pytest.fixture(name='figures')
def _figures(monkeypatch):
  monkeypatch.syspath_prepend(SCRIPTS)
  import study_figures

  return study_figures


@pytest.fixture(name='asked')
def _asked(monkeypatch):
  monkeypatch.syspath_prepend(SCRIPTS)
  import study_requests

  return study_requests.requests(200)


def answer(tokens, logprobs, **more):
  return {'tokens': list(tokens), 'logprobs': logprobs, **more}


def test_an_equal_answer_has_no_other_token_and_no_other_bit(figures):
  one = answer('abc', [-0.5, -0.25, -1.0])
  found = figures.difference(one, one)
  assert found == figures.Difference(
    first_token=None, same_bits=3, compared=3, largest=0.0
  )


def test_bits_count_up_to_the_first_other_token(figures):
  alone = answer('abcd', [-0.5, -0.25, -1.0, -2.0])
  other = answer('abxd', [-0.5, -0.125, -1.0, -2.0])
  found = figures.difference(alone, other)
  assert found == figures.Difference(
    first_token=2, same_bits=1, compared=2, largest=0.125
  )


def test_an_answer_that_ends_sooner_differs_where_it_ends(figures):
  found = figures.difference(
    answer('abc', [-1.0] * 3), answer('ab', [-1.0] * 2)
  )
  assert found.first_token == 2


@pytest.mark.parametrize('length', [2, 4])
def test_the_share_of_equal_answers_falls_at_the_first_other_token(
  figures, length
):
  made = [
    figures.Difference(first_token=first, same_bits=0, compared=0, largest=0.0)
    for first in (0, 1, None, None)
  ]
  assert figures.surviving(made, length)[:3] == [1.0, 0.75, 0.5]


def test_all_200_requests_differ_in_prompt_and_seed(asked):
  assert len({request.prompt for request in asked}) == 200
  assert len({request.body(8)['seed'] for request in asked}) == 200


def test_the_report_compares_with_the_answer_given_alone(figures, tmp_path):
  rows = [
    {'server': 's', 'condition': 'alone', 'index': 0, **answer('ab', [0, 0])},
    {'server': 's', 'condition': 'crowd', 'index': 0, **answer('ac', [0, 0])},
  ]
  path = tmp_path / 'answers.jsonl.gz'
  path.write_bytes(
    gzip.compress('\n'.join(map(json.dumps, rows)).encode(), mtime=0)
  )
  found = figures.differences(figures.read(path))
  assert [d.first_token for d in found['s', 'crowd']] == [1]
  assert '| s | crowd | 1 | 1 | 1 | 0 of 1 | 0 |' in figures.table(found)
