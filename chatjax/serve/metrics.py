"""What Prometheus scrapes.

The names under `vllm:` mean what vLLM's do, so that its dashboards work here
(a choice counts where vLLM counts one of the requests that it makes of an
`n`); what only this engine has is under `chatjax:`. Counters and gauges are
read from the engine as they are scraped; the histograms, and the requests by
how they ended, are those that came over HTTP.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Iterator

import prometheus_client
from prometheus_client import exposition
from prometheus_client import metrics_core
from prometheus_client import registry

from chatjax.chat import session as session_lib
from chatjax.engine import stats
from chatjax.serve import histogram
from chatjax.serve import journal

_FIRST_TOKEN_S = (
  0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5,
  5.0, 7.5, 10.0, 20.0, 40.0, 80.0, 160.0, 640.0, 2560.0,
)  # fmt: skip
_TOKEN_S = (
  0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0,
  7.5, 10.0, 20.0, 40.0, 80.0,
)  # fmt: skip
_REQUEST_S = (
  0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0,
  60.0, 120.0, 240.0, 480.0, 960.0, 1920.0, 7680.0,
)  # fmt: skip
# vLLM's word for each of our outcomes.
_REASONS = {
  'stop': 'stop',
  'length': 'length',
  'cancelled': 'abort',
  'error': 'error',
}


def _histograms(max_context: int) -> dict[str, histogram.Histogram]:
  """By name, `vllm:` left out."""
  sizes = histogram.one_two_five(max_context)
  rows = (
    ('time_to_first_token_seconds', 'From the arrival of a request to its'
     ' first token.', _FIRST_TOKEN_S),
    ('inter_token_latency_seconds', 'Between the tokens of a choice, by blocks'
     ' of them.', _TOKEN_S),
    ('request_queue_time_seconds', 'From the arrival of a request to the start'
     ' of its prefill.', _REQUEST_S),
    ('e2e_request_latency_seconds', 'From the arrival of a request to its'
     ' end.', _REQUEST_S),
    ('request_prompt_tokens', 'Prompt tokens of a request.', sizes),
    ('request_generation_tokens', 'Tokens of all its choices.', sizes),
  )  # fmt: skip
  return {
    name: histogram.Histogram(f'vllm:{name}', documentation, bounds)
    for name, documentation, bounds in rows
  }


class Metrics(registry.Collector):
  """One server's, in a registry of its own."""

  def __init__(self, session: session_lib.Session):
    self._model = session.model_id
    self._engine = session.engine
    self._finished = dict.fromkeys(_REASONS.values(), 0)
    self._histograms = _histograms(session.engine.max_context)
    self._registry = prometheus_client.CollectorRegistry(auto_describe=False)
    self._registry.register(self)

  def observe(self, visit: journal.Visit, timeline: stats.Timeline) -> None:
    """Takes a request that has ended."""
    self._finished[_REASONS[visit.outcome]] += 1
    hists = self._histograms
    for name, end in (
      ('request_queue_time_seconds', timeline.started),
      ('time_to_first_token_seconds', timeline.first_token),
      ('e2e_request_latency_seconds', timeline.ended),
    ):
      if end is not None:
        hists[name].observe(end - timeline.arrived)
    for seconds, tokens in timeline.gaps:
      hists['inter_token_latency_seconds'].observe(seconds / tokens, tokens)
    hists['request_prompt_tokens'].observe(timeline.num_prompt)
    hists['request_generation_tokens'].observe(visit.num_generated)

  def text(self, accept: str) -> tuple[bytes, str]:
    """The exposition in the format that the scraper wants, and its type."""
    encode, content_type = exposition.choose_encoder(accept)
    return encode(self._registry), content_type

  def collect(self) -> Iterator[metrics_core.Metric]:
    """For the registry."""
    yield from self._gauges()
    yield from self._counters()
    ended = metrics_core.CounterMetricFamily(
      'vllm:request_success',
      'Requests that have ended.',
      labels=['model_name', 'finished_reason'],
    )
    for reason, count in self._finished.items():
      ended.add_metric([self._model, reason], count)
    yield ended
    for hist in self._histograms.values():
      yield hist.family(self._model)

  def _gauges(self) -> Iterator[metrics_core.Metric]:
    engine = self._engine
    running, swapped = engine.num_running, engine.num_swapped
    # They change while they are read: never a negative queue.
    waiting = max(0, engine.num_open - running - swapped)
    yield from self._families(metrics_core.GaugeMetricFamily, (
      ('vllm:num_requests_running', 'Choices that decode.', running),
      ('vllm:num_requests_waiting', 'Choices that wait for a row.', waiting),
      ('vllm:kv_cache_usage_perc', 'Share of the cache that requests hold,'
       ' 0 to 1.', engine.cache_usage),
      ('chatjax:requests_swapped', 'Choices that were put out for want of'
       ' pages.', swapped),
      ('chatjax:pages_used', 'Cache pages that requests hold.',
       engine.num_pages_used),
      ('chatjax:weight_bytes', 'Size of the weights.', engine.weight_bytes),
    ))  # fmt: skip

  def _counters(self) -> Iterator[metrics_core.Metric]:
    totals = self._engine.totals
    yield from self._families(metrics_core.CounterMetricFamily, (
      ('vllm:prefix_cache_queries', 'Prompt tokens that were looked up.',
       totals.prompt_tokens),
      ('vllm:prefix_cache_hits', 'Prompt tokens that were not computed again.',
       totals.cached_tokens),
      ('vllm:num_preemptions', 'Choices put out.', totals.preemptions),
      ('vllm:prompt_tokens', 'Prompt tokens.', totals.prompt_tokens),
      ('vllm:generation_tokens', 'Generated tokens.',
       totals.generated_tokens),
      ('vllm:spec_decode_num_draft_tokens', 'Guessed tokens.',
       totals.drafted_tokens),
      ('vllm:spec_decode_num_accepted_tokens', 'Guessed tokens that were'
       ' right.', totals.accepted_tokens),
      ('chatjax:decode_steps', 'Decode steps that drew a token.',
       totals.decode_steps),
      ('chatjax:decode_seconds', 'Waiting for decode blocks.',
       totals.decode_s),
      ('chatjax:host_gap_seconds', 'The device idle between two blocks.',
       totals.host_gap_s),
      ('chatjax:compilations', 'Programs compiled since the engine was ready;'
       ' it needs none.', self._engine.num_compilations),
    ))  # fmt: skip

  def _families(
    self,
    kind: type[metrics_core.Metric],
    rows: Iterable[tuple[str, str, float]],
  ) -> Iterator[metrics_core.Metric]:
    for name, documentation, value in rows:
      family = kind(name, documentation, labels=['model_name'])
      family.add_metric([self._model], value)
      yield family
