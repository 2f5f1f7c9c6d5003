"""The benchmark's arithmetic, on an engine whose speed is known."""

import itertools

import pytest

from chatjax import model_config
from chatjax import types
from chatjax.cli import bench
from chatjax.cli import bench_engine
from chatjax.cli import bench_machine
from chatjax.cli import bench_model
from chatjax.cli import bench_text
from chatjax.testing import fake_engine

TEXT_IDS = list(bench_text.TEXT.encode())


def endless(request, choice):
  return itertools.repeat(65, request.max_tokens)


def test_forced_length_from_different_prompts():
  engine = fake_engine.FakeEngine(endless, pause_s=0.005)
  one = bench_engine.Bench(engine, TEXT_IDS)
  one.decode(3, prompt_len=40, num_tokens=64)
  one.first_token_s(5000)
  assert [len(r.prompt_ids) for r in engine.requests] == [40, 40, 40, 5000]
  assert [r.max_tokens for r in engine.requests] == [64, 64, 64, 1]
  assert len({r.prompt_ids[:8] for r in engine.requests}) == 4
  assert all(not r.stop_ids for r in engine.requests)
  assert all(r.sampling.temperature == 0 for r in engine.requests)


def test_decode_counts_what_came_while_all_rows_ran():
  engine = fake_engine.FakeEngine(endless, block=1, pause_s=0.02)
  result = bench_engine.Bench(engine, TEXT_IDS).decode(
    2, prompt_len=40, num_tokens=32
  )
  # A row makes a token per pause at best; two rows twice that.
  assert 20 < result.tokens_per_s <= 101
  assert 40 < result.mean_context < 40 + 32


def test_first_token_waits_for_the_first_token_alone():
  engine = fake_engine.FakeEngine(endless, block=1, pause_s=0.05)
  assert 0.05 <= bench_engine.Bench(engine, TEXT_IDS).first_token_s(8) < 0.5


def test_an_engine_that_fails_is_an_error():
  engine = fake_engine.FakeEngine(endless, fail_after=1)
  with pytest.raises(types.ChatjaxError, match='engine failed'):
    bench_engine.Bench(engine, TEXT_IDS).decode(1, prompt_len=8, num_tokens=64)
  with pytest.raises(types.ChatjaxError, match='does not run any more'):
    bench_engine.Bench(engine, TEXT_IDS).first_token_s(8)


def test_keys_and_values_of_local_layers_end_with_the_window():
  sizes = model_config.ModelConfig(
    vocab_size=8, num_layers=2, embed_dim=8, num_heads=4, num_kv_heads=2,
    head_dim=4, mlp_dim=16, max_context=64, sliding_window=10,
    layer_kinds=(model_config.LayerKind.LOCAL, model_config.LayerKind.GLOBAL),
  )  # fmt: skip
  model = bench_model.Model(
    engine=None, tokenizer=None, sizes=sizes, cache_itemsize=4, load_s=0.0,
    was_converted=True, start_s=0.0, was_compiled=True, weight_bytes=0,
  )  # fmt: skip
  assert model.kv_bytes(30.0) == (10 + 30) * 2 * (2 * 4) * 4
  assert model.kv_bytes(5.0) == (5 + 5) * 2 * (2 * 4) * 4


def test_the_text_is_long_enough_for_prompts_of_their_own():
  # Bytes per token of the models' tokenizers are below 5 on prose.
  assert len(TEXT_IDS) > bench.PREFILL_TOKENS * 4


def test_the_machine_is_measured(monkeypatch):
  monkeypatch.setattr(bench_machine, 'ARRAY_BYTES', 2**24)
  assert 1e8 < bench_machine.read_bandwidth() < 1e13
  assert 1e7 < bench_machine.peak_rss_bytes() < 1e12
