"""The engine on tiny models: the seed contract and the life of a request."""

import dataclasses
import random
import time

import jax
import numpy as np
import pytest

from chatjax import types
from chatjax.engine import device as device_lib
from chatjax.engine import engine as engine_lib
from chatjax.engine import state as state_lib
from chatjax.nn import paged
from chatjax.testing import tiny
from tests.engine.asking import PROMPTS
from tests.engine.asking import request
from tests.engine.asking import run
from tests.engine.asking import start
from tests.nn import interpreted


@pytest.fixture(
  scope='module',
  params=[
    'gemma3',
    pytest.param('qwen2', marks=pytest.mark.slow),
    pytest.param('llama', marks=pytest.mark.slow),
  ],
)
def engine(request):
  weights = tiny.weights(request.param, 'int8')
  with_engine = engine_lib.Engine(weights, tiny.ENGINE)
  yield with_engine
  assert with_engine.error is None
  assert with_engine.num_pages_used == 0
  with_engine.close()


@pytest.fixture(scope='module')
def one_engine():
  engine = engine_lib.Engine(tiny.weights('gemma3', 'int8'), tiny.ENGINE)
  yield engine
  assert engine.error is None
  assert engine.num_pages_used == 0
  engine.close()


def test_d1_alone_equals_in_a_crowd(engine):
  wanted = {n: run(engine, request(p))[0].bits() for n, p in PROMPTS.items()}
  crowd = [request(p) for p in PROMPTS.values()]
  mates = [
    request(p, seed=99, temperature=2.0, max_tokens=30, logprobs=False,
            top_logprobs=0)
    for p in PROMPTS.values()
  ]  # fmt: skip
  everyone = crowd + mates
  random.Random(0).shuffle(everyone)
  sinks = dict(zip(map(id, everyone), run(engine, *everyone), strict=True))
  for (length, want), one in zip(wanted.items(), crowd, strict=True):
    assert sinks[id(one)].bits() == want, length


def test_d2_random_arrivals(engine):
  want = run(engine, request())[0].bits()
  rng = random.Random(1)
  for _ in range(3):
    sinks = []
    for _ in range(6):
      noise = request(
        rng.choice(list(PROMPTS.values())), seed=rng.randrange(2**31),
        max_tokens=rng.randint(1, 40), n=rng.randint(1, 3),
        temperature=rng.choice([0.0, 1.0]), presence_penalty=1.0,
      )  # fmt: skip
      sinks.append((False, start(engine, noise)))
      time.sleep(rng.random() * 0.02)
      sinks.append((True, start(engine, request())))
    for is_ours, sink in sinks:
      sink.wait()
      assert not is_ours or sink.bits() == want


def test_n1_choices_do_not_depend_on_n(engine):
  (eight,) = run(engine, request(n=8))
  for n in (1, 2, 5):
    (fewer,) = run(engine, request(n=n))
    for choice in range(n):
      assert fewer.bits(choice) == eight.bits(choice)
  assert len({tuple(eight.ids(choice)) for choice in range(8)}) == 8


def test_n2_neighbouring_seeds_share_no_choice(one_engine):
  (a,) = run(one_engine, request(seed=5, n=3))
  (b,) = run(one_engine, request(seed=6, n=3))
  both = {tuple(sink.ids(choice)) for sink in (a, b) for choice in range(3)}
  assert len(both) == 6


def test_d5_every_bit_of_the_seed_counts(one_engine):
  seeds = [5, 5 + 2**32, -1, 2**63 - 1, -(2**63)]
  sinks = run(one_engine, *(request(seed=seed) for seed in seeds))
  assert len({tuple(sink.ids()) for sink in sinks}) == len(seeds)


def test_d7_another_engine_gives_the_same(one_engine):
  want = run(one_engine, request(n=2))[0]
  weights = tiny.weights('gemma3', 'int8')
  other = engine_lib.Engine(weights, tiny.ENGINE)
  got = run(other, request(n=2))[0]
  assert [got.bits(0), got.bits(1)] == [want.bits(0), want.bits(1)]
  assert other.fingerprint == one_engine.fingerprint
  other.close()


def test_rows_at_once_keep_the_contract_too(one_engine, monkeypatch):
  """Accelerators run the rows of a program together, not in turn."""
  want = run(one_engine, request())[0]
  monkeypatch.setattr(paged, 'best_method', lambda *_: 'vmap')
  engine = engine_lib.Engine(tiny.weights('gemma3', 'int8'), tiny.ENGINE)
  alone = run(engine, request())[0]
  mates = [request(p, seed=9, temperature=2.0) for p in PROMPTS.values()]
  crowd = run(engine, *mates[:5], request(), *mates[5:])[5]
  assert crowd.bits() == alone.bits()
  assert alone.ids() == want.ids()
  engine.close()


@pytest.mark.slow
def test_the_kernel_of_tpus_keeps_the_contract_too(monkeypatch):
  """Interpreted: cold, in a crowd, put out to the host and back."""
  config = dataclasses.replace(tiny.ENGINE, dtype='float32', chunk=32)
  weights = tiny.weights('gemma3', 'float32', head_dim=128)
  asked = request(PROMPTS[50], max_tokens=30)
  plain = engine_lib.Engine(weights, config)
  want = run(plain, asked)[0].ids()
  plain.close()
  monkeypatch.setattr(paged, 'best_method', lambda *_: 'ragged')
  with interpreted.kernels():
    engine = engine_lib.Engine(weights, config)
  assert engine.fingerprint_parts['attention'] == 'ragged'
  alone = run(engine, asked)[0]
  assert alone.ids() == want
  mates = [request(p, seed=9, temperature=2.0) for p in PROMPTS.values()]
  crowd = run(engine, *mates[:5], asked, *mates[5:])[5]
  assert crowd.bits() == alone.bits()
  again = start(engine, asked)
  again.wait_for_first()
  engine.preempt(asked.request_id)
  assert again.wait().bits() == alone.bits()
  engine.close()


@pytest.mark.parametrize('cache_dtype', ['bfloat16', 'int8'])
def test_small_caches_keep_the_contract(one_engine, cache_dtype):
  """Cold, warm, in a crowd, and put out to the host and back."""
  config = dataclasses.replace(
    tiny.ENGINE, cache_dtype=cache_dtype, cache_tokens=128
  )
  engine = engine_lib.Engine(tiny.weights('gemma3', 'int8'), config)
  asked = request(PROMPTS[50], max_tokens=40)
  cold = run(engine, asked)[0].bits()
  assert cold != run(one_engine, asked)[0].bits()
  mates = [request(PROMPTS[33], seed=i, max_tokens=60) for i in range(4)]
  for _ in range(2):
    asked = request(PROMPTS[50], max_tokens=40)
    assert run(engine, *mates[:2], asked, *mates[2:])[2].bits() == cold
    mates = [dataclasses.replace(x, request_id=f'{x.seed}') for x in mates]
  assert engine.totals.preemptions > 0
  assert engine.totals.cached_tokens > 0
  engine.close()


def test_decode_steps_do_not_change_bits(one_engine):
  want = run(one_engine, request())[0].bits()
  for steps in (1, 8):
    config = dataclasses.replace(tiny.ENGINE, decode_steps=steps)
    other = engine_lib.Engine(tiny.weights('gemma3', 'int8'), config)
    assert run(other, request())[0].bits() == want
    other.close()


def test_d4_the_fingerprint_moves_with_what_moves_bits(one_engine):
  seen = {one_engine.fingerprint}
  for family, dtype, prompt_format in (
    ('gemma3', 'float32', ''),
    ('llama', 'int8', ''),
    ('gemma3', 'int8', 'another template'),
  ):
    config = dataclasses.replace(tiny.ENGINE, dtype=dtype)
    other = engine_lib.Engine(
      tiny.weights(family, dtype), config, prompt_format=prompt_format
    )
    seen.add(other.fingerprint)
    other.close()
  assert len(seen) == 4


@pytest.mark.parametrize('dtype', ['float32', 'bfloat16'])
def test_float_models_keep_the_contract(dtype):
  config = dataclasses.replace(tiny.ENGINE, dtype=dtype)
  engine = engine_lib.Engine(tiny.weights('gemma3', dtype), config)
  want = run(engine, request())[0].bits()
  mates = [request(p, seed=1) for p in PROMPTS.values()]
  sinks = run(engine, *mates, request(n=2))
  assert sinks[-1].bits(0) == want
  engine.close()


def test_greedy_takes_the_reported_maximum(one_engine):
  (sink,) = run(one_engine, request(temperature=0.0))
  for token in sink.choices[0]:
    assert token.top[0] == (token.id, token.logprob)
    assert token.logprob <= 0


def test_stop_id_ends_and_is_delivered(one_engine):
  free = run(one_engine, request())[0].ids()
  stop = free[7]
  (sink,) = run(one_engine, request(stop_ids={stop, 258}))
  assert sink.ids() == free[: free.index(stop) + 1]
  assert sink.reasons[0] is types.FinishReason.STOP


@pytest.mark.parametrize('max_tokens', [1, 2, 3, 4, 7])
def test_max_tokens_is_exact(one_engine, max_tokens):
  free = run(one_engine, request())[0].bits()
  (sink,) = run(one_engine, request(max_tokens=max_tokens))
  assert sink.bits() == free[:max_tokens]
  assert sink.reasons[0] is types.FinishReason.LENGTH


def test_whole_context_can_be_used(one_engine):
  room = tiny.ENGINE.context - 50
  (sink,) = run(one_engine, request(PROMPTS[50], max_tokens=room, n=2))
  assert [len(sink.ids(i)) for i in range(2)] == [room, room]


@pytest.mark.parametrize(
  'fields',
  [
    {'temperature': 0.3},
    {'top_p': 0.3},
    {'top_k': 2},
    {'min_p': 0.5},
    {'presence_penalty': 2.0},
    {'frequency_penalty': 2.0},
    {'repetition_penalty': 1.8},
    {'logit_bias': {65: 100.0}},
  ],
)
def test_g1_sampling_parameters_change_the_outcome(one_engine, fields):
  plain = run(one_engine, request())[0].ids()
  assert run(one_engine, request(**fields))[0].ids() != plain


def test_g1_min_tokens_puts_the_stop_off(one_engine):
  free = run(one_engine, request())[0].ids()
  (sink,) = run(one_engine, request(stop_ids={free[0]}, min_tokens=9))
  assert free[0] not in sink.ids()[:9]


def test_cancel_frees_the_row_and_leaves_the_others_alone(one_engine):
  want = run(one_engine, request())[0].bits()
  victim = request(seed=1, n=2, max_tokens=100)
  sink = start(one_engine, victim)
  ours = start(one_engine, request())
  sink.wait_for_first()
  one_engine.cancel(victim.request_id)
  assert ours.wait().bits() == want
  run(one_engine, request())
  assert one_engine.num_pages_used == 0
  one_engine.cancel(victim.request_id)  # again: ignored
  one_engine.cancel('unknown')


def test_cancel_one_choice(one_engine):
  want = run(one_engine, request(n=3, max_tokens=60))[0]
  victim = request(n=3, max_tokens=60)
  sink = start(one_engine, victim)
  sink.wait_for_first()
  one_engine.cancel(victim.request_id, 1)
  while len(sink.reasons) < 2:
    time.sleep(0.01)
  assert [sink.bits(i) for i in (0, 2)] == [want.bits(i) for i in (0, 2)]
  run(one_engine, request())
  assert one_engine.num_open == 0


@pytest.mark.parametrize(
  ('bad', 'param'),
  [
    ({'prompt': ()}, 'messages'),
    ({'prompt': (259,)}, 'messages'),
    ({'prompt': (-1,)}, 'messages'),
    ({'max_tokens': 112}, 'max_tokens'),
    ({'max_tokens': 0}, 'max_tokens'),
    ({'stop_ids': range(65)}, 'stop_token_ids'),
    ({'stop_ids': {259}}, 'stop_token_ids'),
    ({'allowed_token_ids': ()}, 'allowed_token_ids'),
    ({'allowed_token_ids': (259,)}, 'allowed_token_ids'),
    ({'allowed_token_ids': (1.5,)}, 'allowed_token_ids'),
    ({'top_logprobs': 1.5}, 'top_logprobs'),
    ({'top_logprobs': 21}, 'top_logprobs'),
    ({'seed': 1.5}, 'seed'),
    ({'n': 0}, 'n'),
    ({'seed': 2**63}, 'seed'),
    ({'repetition_penalty': 1e-4}, 'repetition_penalty'),
    ({'logit_bias': {259: 1.0}}, 'logit_bias'),
    ({'min_tokens': 2**31}, 'min_tokens'),
    ({'temperature': float('nan')}, 'temperature'),
  ],
)
def test_bad_requests_are_refused(one_engine, bad, param):
  with pytest.raises(types.RequestError) as error:
    start(one_engine, request(**bad))
  assert error.value.param == param
  assert one_engine.is_alive
  assert one_engine.num_open == 0


def test_full_queue_is_503():
  config = dataclasses.replace(tiny.ENGINE, max_queue=3)
  engine = engine_lib.Engine(tiny.weights('llama', 'int8'), config)
  sinks = [start(engine, request(max_tokens=100)) for _ in range(7)]
  with pytest.raises(types.RequestError) as error:
    start(engine, request())
  assert error.value.status == 503
  for sink in sinks:
    assert sink.wait().failure is None
  run(engine, request())
  engine.close()


def test_cancel_a_choice_before_it_has_a_row(one_engine):
  """More choices than rows: the last one waits, and is never started."""
  want = run(one_engine, request(n=5, max_tokens=60))[0]
  victim = request(n=5, max_tokens=60)
  sink = start(one_engine, victim)
  one_engine.cancel(victim.request_id, 4)
  one_engine.cancel(victim.request_id, 9)  # there is none: ignored
  while len(sink.reasons) < 4:
    time.sleep(0.01)
  for choice in range(4):
    assert sink.bits(choice) == want.bits(choice)
  assert one_engine.num_open == 0


def test_numbers_that_broke_do_not_reach_who_gets_the_pages_next():
  """One token's embedding is NaN; its pages go to a clean request."""
  weights = tiny.weights('qwen2', 'float32')
  config = dataclasses.replace(
    tiny.ENGINE, dtype='float32', cache_tokens=tiny.ENGINE.context
  )

  def restore():
    params = weights.restore()
    return {**params, 'embed': {'w': params['embed']['w'].at[65].set(np.nan)}}

  broken = dataclasses.replace(weights, restore=restore)
  engine = engine_lib.Engine(broken, config)
  prompt = tuple(x for x in PROMPTS[50] if x != 65)
  clean = {'prompt': prompt, 'logit_bias': {65: -100.0}}
  want = run(engine, request(**clean))[0].bits()
  assert start(engine, request((65,) * 60, max_tokens=60)).wait().failure
  assert run(engine, request(**clean))[0].bits() == want
  engine.close()


def test_broken_weights_fail_the_request_and_not_the_engine():
  weights = tiny.weights('llama', 'float32')

  def restore():
    params = weights.restore()
    w = params['final_norm']['w'].at[3].set(np.nan)
    return {**params, 'final_norm': {'w': w}}

  broken = dataclasses.replace(weights, restore=restore)
  config = dataclasses.replace(tiny.ENGINE, dtype='float32')
  engine = engine_lib.Engine(broken, config)
  sink = start(engine, request(n=2)).wait()
  assert 'not numbers' in str(sink.failure)
  assert engine.is_alive
  assert start(engine, request()).wait().failure
  assert engine.num_pages_used == 0
  engine.close()


def test_row_that_breaks_takes_its_siblings_and_nobody_else(monkeypatch):
  engine = engine_lib.Engine(tiny.weights('llama', 'int8'), tiny.ENGINE)
  want = run(engine, request())[0].bits()
  fetch = device_lib.fetch

  def broken_fetch(tree):
    emitted = jax.tree.map(np.array, fetch(tree))
    if emitted.finish.ndim == 2:  # a decode block: the first request's row 0
      emitted.finish[emitted.token[:, 0] >= 0, 0] = state_lib.BROKEN
    return emitted

  monkeypatch.setattr(device_lib, 'fetch', broken_fetch)
  twins, other = start(engine, request(n=2)), start(engine, request())
  assert 'not numbers' in str(twins.wait().failure)
  monkeypatch.undo()
  assert other.wait().failure is None
  assert other.bits() == want
  assert engine.num_open == 0
  engine.close()


def test_close_fails_open_requests_and_refuses_new_ones():
  engine = engine_lib.Engine(tiny.weights('llama', 'int8'), tiny.ENGINE)
  sinks = [start(engine, request(max_tokens=100)) for _ in range(6)]
  engine.close()
  for sink in sinks:
    sink.wait(5)
  assert any(isinstance(s.failure, engine_lib.EngineDead) for s in sinks)
  with pytest.raises(engine_lib.EngineDead):
    start(engine, request())


def test_dead_engine_is_seen(monkeypatch):
  engine = engine_lib.Engine(tiny.weights('llama', 'int8'), tiny.ENGINE)
  monkeypatch.setattr(engine._device, 'decode', lambda action: 1 / 0)
  sink = start(engine, request()).wait(10)
  assert isinstance(sink.failure, engine_lib.EngineDead)
  assert isinstance(engine.error, ZeroDivisionError)
  assert not engine.is_alive


def test_nothing_is_compiled_after_the_start(one_engine):
  """Any mix of parameters runs on the executables of the start."""
  count = []
  listener = lambda name, *_, **__: (
    count.append(name) if 'backend_compile' in name else None
  )
  jax.monitoring.register_event_duration_secs_listener(listener)
  rng = random.Random(3)
  run(
    one_engine,
    *(
      request(
        rng.choice(list(PROMPTS.values())), seed=i, n=rng.randint(1, 4),
        temperature=rng.random() * 2, top_p=rng.uniform(0.1, 1),
        top_k=rng.randint(0, 50), min_p=rng.random() / 2,
        frequency_penalty=rng.random(), logit_bias={i: 1.0},
        min_tokens=i % 3, top_logprobs=i,
      )
      for i in range(12)
    ),
  )  # fmt: skip
  assert not count


def test_cache_and_state_are_updated_in_place(one_engine):
  """Donated buffers come back; no program holds a second cache."""
  programs, arrays = one_engine.programs, one_engine._replica.arrays
  num_bytes = lambda tree: sum(x.nbytes for x in jax.tree.leaves(tree))
  cache, state = num_bytes(arrays['cache']), num_bytes(arrays['state'])
  in_place = {
    'prefill': (programs.prefill, cache),
    'copy_page': (programs.copy_page, cache),
    'write_page': (programs.write_page, cache),
    'admit': (programs.admit, state),
    'put': (programs.put, state),
  }
  for width, program in programs.decode.items():
    in_place[f'decode at {width}'] = program, cache + state
  for name, (program, kept) in in_place.items():
    memory = program.memory_analysis()
    assert memory.alias_size_in_bytes >= kept, name
    assert memory.temp_size_in_bytes < cache, name
  assert programs.read_page.memory_analysis().temp_size_in_bytes < cache


def test_the_host_waits_once_for_each_draw(one_engine, monkeypatch):
  """No hidden reads: a first token or a block is one fetch."""
  fetches = []
  fetch = device_lib.fetch
  spy = lambda tree: (fetches.append(1), fetch(tree))[1]
  monkeypatch.setattr(device_lib, 'fetch', spy)
  blocks = one_engine.totals.decode_blocks
  (sink,) = run(one_engine, request(PROMPTS[50], n=3))
  blocks = one_engine.totals.decode_blocks - blocks
  assert len(sink.reasons) == 3
  assert len(fetches) == 3 + blocks
