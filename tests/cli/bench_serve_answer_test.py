"""Reading a stream of chunks: events cut anywhere, times, what is missing."""

import itertools
import json

from hypothesis import given
from hypothesis import strategies as st
import pytest

from chatjax.cli import bench_serve_answer

STREAM = (
  ': ping\r\n\r\ndata: {"a": "ä"}\n\nevent: x\ndata:one\ndata: two\n\n'
  'data: [DONE]\n\n'
).encode()


@given(st.lists(st.integers(0, len(STREAM))))
def test_events_do_not_depend_on_the_pieces(cuts):
  edges = [0, *sorted(cuts), len(STREAM)]
  events = bench_serve_answer.Events()
  got = [
    data
    for start, end in itertools.pairwise(edges)
    for data in events.feed(STREAM[start:end])
  ]
  assert got == ['{"a": "ä"}', 'one\ntwo', '[DONE]']


def chunk(index=0, *, usage=None, **choice):
  delta = {'content': choice.pop('content', None)}
  choices = [{'index': index, 'delta': delta, **choice}]
  return json.dumps({'choices': choices, 'usage': usage})


USAGE = json.dumps({
  'choices': [],
  'usage': {
    'prompt_tokens': 7, 'completion_tokens': 8,
    'prompt_tokens_details': {'cached_tokens': 4},
  },
})  # fmt: skip


def record(*events):
  recorder = bench_serve_answer.Recorder(10.0)
  for now_s, data in events:
    recorder.add(data, now_s)
  return recorder


def test_times_count_chunks_that_bring_tokens():
  answer = record(
    (11.0, chunk(content='', role='assistant')),  # opens the choice
    (12.0, chunk(content='a')),
    (12.5, chunk(content='', finish_reason=None)),
    (13.0, chunk(token_ids=[5])),  # a token without text
    (13.5, chunk(logprobs={'content': [{}]})),
    (14.0, chunk(finish_reason='length')),
    (14.5, USAGE),
    (14.5, '[DONE]'),
  ).finish(15.0, 1)
  assert answer.ttft_s == 2.0
  assert answer.itls_s == (1.0, 0.5)
  assert answer.latency_s == 5.0
  assert (answer.prompt_tokens, answer.output_tokens) == (7, 8)
  assert answer.cached_tokens == 4
  assert answer.tpot_s == pytest.approx((5.0 - 2.0) / 7)
  assert answer.error is None


def test_gaps_are_between_chunks_of_one_choice():
  answer = record(
    (11.0, chunk(0, content='a')), (12.0, chunk(1, content='b')),
    (14.0, chunk(0, content='c')), (16.0, chunk(1, content='d')),
    (16.0, USAGE), (16.0, '[DONE]'),
  ).finish(16.0, 2)  # fmt: skip
  assert answer.ttft_s == 1.0
  assert answer.itls_s == (3.0, 4.0)
  # Four tokens of each choice: three steps.
  assert answer.tpot_s == pytest.approx((6.0 - 1.0) / 3)


def test_an_answer_without_text_begins_at_its_end():
  answer = record(
    (12.0, chunk(finish_reason='length')), (13.0, USAGE), (13.0, '[DONE]')
  ).finish(13.0, 8)
  assert answer.ttft_s == 2.0
  assert answer.tpot_s is None  # one token of each choice


TEXT = (11.0, chunk(content='a'))
BAD = {
  'ended early': [TEXT, (12.0, USAGE)],
  'no usage': [TEXT, (12.0, '[DONE]')],
  'no tokens': [(12.0, USAGE), (12.0, '[DONE]')],
  'error in the stream: it broke': [
    (1.0, '{"error": {"message": "it broke."}}')
  ],
  'not a chunk': [(1.0, '{"choices"')],
  'not a chunk: ': [(1.0, '[1]')],
}  # fmt: skip


@pytest.mark.parametrize('reason', BAD)
def test_what_is_no_answer_says_why(reason):
  with pytest.raises(bench_serve_answer.BadAnswerError, match=reason):
    record(*BAD[reason]).finish(20.0, 1)


def test_what_an_error_says_is_one_short_line():
  told = bench_serve_answer.told
  assert told({'error': {'message': 'a\n b.'}}) == 'a b'
  assert told({'error': 'full'}) == 'full'
  assert told({'detail': 'x'}) == "{'detail': 'x'}"
  assert len(told('x' * 999)) == 200
