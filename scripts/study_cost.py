"""What the seed contract costs: two things that chatjax does for its sake.

    python scripts/study_cost.py [--rounds=5]

* A row has the same bits alone and in a crowd, so a lone stream runs in the
  program that a crowd would run in. Tokens a second of one stream are measured
  in a server with eight places and in one with one place, in turn.
* What was generated is never taken for a prompt, so the second turn of a
  conversation prefills the first answer. The time to its first token is
  compared with that of the same request once more, when the answer is in the
  prefix cache as part of a prompt.

Needs the `[dev]` extra. Prints medians over the rounds.
"""

from __future__ import annotations

from collections.abc import Sequence
import pathlib
import statistics
import sys
import time
from typing import Any

from absl import app
from absl import flags
from absl import logging
import httpx
import peers

_MODEL = flags.DEFINE_string(
  'model', 'qwen2.5-coder-0.5b-instruct', 'Model id of chatjax.'
)
_ROUNDS = flags.DEFINE_integer('rounds', 5, 'Rounds.', lower_bound=1)
_MAX_TOKENS = flags.DEFINE_integer(
  'max_tokens', 128, 'Tokens of an answer.', lower_bound=8
)
_TIMEOUT_S = 600


def start(places: int) -> peers.Server:
  """A server with so many rows."""
  port = peers.free_port()
  program = pathlib.Path(sys.executable).with_name('chatjax')
  command = [
    str(program), 'serve', f'--model={_MODEL.value}', f'--port={port}',
    f'--max_rows={places}',
  ]  # fmt: skip
  return peers.Server(
    f'{places} places', command, port=port,
    extra={
      'model': _MODEL.value, 'return_token_ids': True, 'speculation': 'off',
    },
    min_tokens=True,
  )  # fmt: skip


def decode_rate(server: peers.Server, round_number: int) -> float:
  """Tokens a second of one stream after its first token."""
  (line,) = server.run([f'{round_number}. Tell a story.'], _MAX_TOKENS.value)
  count = line.arrivals[-1][1] - line.arrivals[0][1]
  return count / (line.last_s - line.first_s)


def turns(server: peers.Server, round_number: int) -> dict[str, float]:
  """Seconds to the first token of a second turn, asked twice."""
  with httpx.Client(timeout=_TIMEOUT_S) as client:

    def ask(messages: list[dict[str, Any]], max_tokens: int):
      begin = time.perf_counter()
      answer = client.post(
        f'{server.url}/v1/chat/completions',
        json={
          'model': _MODEL.value, 'messages': messages, 'temperature': 0,
          'max_tokens': max_tokens, 'min_tokens': max_tokens,
          'ignore_eos': True,
        },
      )  # fmt: skip
      seconds = time.perf_counter() - begin
      answer.raise_for_status()
      return answer.json(), seconds

    messages = [{'role': 'user', 'content': f'{round_number}. Tell a tale.'}]
    first, _ = ask(messages, _MAX_TOKENS.value * 3)
    messages.append(first['choices'][0]['message'])
    messages.append({'role': 'user', 'content': 'Sum it up.'})
    second, seconds = ask(messages, 1)
    again, seconds_again = ask(messages, 1)
    cached = [
      answer['usage']['prompt_tokens_details']['cached_tokens']
      for answer in (second, again)
    ]
    return {
      'prompt tokens of the second turn': second['usage']['prompt_tokens'],
      'of them cached, first time': cached[0],
      'of them cached, second time': cached[1],
      'first token, first time, ms': seconds * 1000,
      'first token, second time, ms': seconds_again * 1000,
    }


def medians(samples: Sequence[dict[str, float]]) -> dict[str, float]:
  """By name, over the rounds."""
  return {
    name: statistics.median(sample[name] for sample in samples)
    for name in samples[0]
  }


def main(argv: list[str]) -> None:
  if len(argv) > 1:
    raise app.UsageError('Takes flags only.')
  logging.set_verbosity(logging.WARNING)
  servers = [start(places) for places in (1, 8)]
  try:
    for server in servers:
      decode_rate(server, -1)  # warm
    samples = []
    for round_number in range(_ROUNDS.value):
      order = servers if round_number % 2 else servers[::-1]
      rates = {
        f'one stream, {server.name}, tok/s': decode_rate(server, round_number)
        for server in order
      }
      samples.append(rates | turns(servers[-1], round_number))
    for name, value in sorted(medians(samples).items()):
      print(f'{name}: {value:.1f}')
  finally:
    for server in servers:
      server.stop()


if __name__ == '__main__':
  app.run(main)
