"""The scheduler on a simulated device: order, pages, prefixes, preemption."""

import random

import pytest

from tests.engine import simulation
from tests.engine.simulation import Simulation
from tests.engine.simulation import config
from tests.engine.simulation import job

PAGE, CHUNK = simulation.PAGE, simulation.CHUNK
NUM_JOBS = 400  # in each of twelve runs


def starts(sim):
  """Request ids in the order in which their rows were placed."""
  return [
    (action.row.job.request.request_id, action.row.choice)
    for name, action in sim.log
    if name == 'Place'
  ]


def prefilled(sim, one):
  return [
    (action.start, action.stop)
    for name, action in sim.log
    if name == 'Prefill' and action.job is one
  ]


def submit(sim, *jobs):
  for one in jobs:
    sim.scheduler.add(one)


def test_jobs_start_in_the_order_of_arrival():
  sim = Simulation(config(max_rows=1))
  submit(sim, *(job(name=name) for name in 'abc'))
  sim.run()
  assert [name for name, _ in starts(sim)] == ['a', 'b', 'c']


def test_a_smaller_priority_goes_first_but_not_for_ever():
  sim = Simulation(config(max_rows=1, priority_step=3))
  submit(sim, job(name='late', priority=1), job(name='now', priority=-1))
  for i in range(5):
    submit(sim, job(name=f'{i}'))
  sim.run()
  order = [name for name, _ in starts(sim)]
  assert order[0] == 'now'
  assert order[1:4] == ['0', 'late', '1']


def test_many_choices_take_turns_with_other_requests():
  sim = Simulation(config(max_rows=2))
  submit(sim, job(name='many', n=6), *(job(name=f'{i}') for i in range(4)))
  sim.run()
  order = starts(sim)
  assert order[0] == ('many', 0)
  assert order.index(('0', 0)) < order.index(('many', 1))
  assert order.index(('many', 2)) < order.index(('3', 0))
  assert [choice for name, choice in order if name == 'many'] == list(range(6))


def test_choices_share_one_prefill_and_the_prompts_full_pages():
  sim = Simulation(config())
  one = job(prompt=CHUNK + PAGE + 1, n=3, max_tokens=20)
  submit(sim, one)
  while len(sim.scheduler.rows) < 3:
    sim.step()
  assert prefilled(sim, one) == [(0, 8), (8, 13)]
  tables = [row.table.pages[0] for row in sim.scheduler.rows.values()]
  full = (CHUNK + PAGE) // PAGE
  assert len({tuple(pages[:full]) for pages in tables}) == 1
  assert len({pages[full] for pages in tables}) == 3
  copies = [action.copy for name, action in sim.log if name == 'Place']
  assert copies[0]
  assert copies[1]
  assert copies[2] is None  # the last one takes the tail over
  sim.run()
  assert sim.scheduler.tables.num_used == 0


def test_prefill_is_interleaved_with_decode():
  """Rows that decode wait for `prefill_burst` chunks at most."""
  sim = Simulation(config(prefill_burst=2, prefix_cache=False))
  submit(sim, job(max_tokens=40, name='row'))
  while not sim.scheduler.rows:
    sim.step()
  submit(sim, job(prompt=7 * CHUNK, max_tokens=2, name='long'))
  del sim.log[:]
  sim.run()
  names = ''.join(name[0] for name, _ in sim.log)
  assert names.startswith('PDPPDPPDPPPD')  # the last P of these is Place


def test_prefill_is_not_held_up_when_nobody_decodes():
  sim = Simulation(config(prefill_burst=1, prefix_cache=False))
  submit(sim, job(prompt=7 * CHUNK, max_tokens=2))
  sim.run()
  assert [name for name, _ in sim.log[:7]] == ['Prefill'] * 7


def test_a_cached_prefix_is_not_computed_again():
  sim = Simulation(config())
  prompt = tuple(range(3 * CHUNK))
  first, second = job(prompt, name='a'), job(prompt, name='b')
  third = job((*prompt[: 2 * CHUNK], 7, 7), name='c')
  other = job((9, *prompt[1:]), name='d')
  for one in (first, second, third, other):
    submit(sim, one)
    sim.run()
  assert prefilled(sim, first) == [(0, 8), (8, 16), (16, 24)]
  # The chunk of the last position is always computed.
  assert prefilled(sim, second) == [(16, 24)]
  assert prefilled(sim, third) == [(16, 18)]
  assert prefilled(sim, other) == prefilled(sim, first)
  assert [one.num_cached for one in (first, second, third, other)] == [
    0, 16, 16, 0,
  ]  # fmt: skip


def test_jobs_in_flight_share_a_prefix_too():
  sim = Simulation(config())
  prompt = tuple(range(3 * CHUNK + 1))
  jobs = [job(prompt, name=f'{i}', max_tokens=10) for i in range(3)]
  submit(sim, *jobs)
  sim.run()
  assert [one.num_cached for one in jobs] == [0, 24, 24]


def test_salts_do_not_share():
  sim = Simulation(config())
  prompt = tuple(range(3 * CHUNK))
  jobs = [job(prompt, name=salt, cache_salt=salt) for salt in ('', 'x', 'y')]
  jobs.append(job(prompt, name='again', cache_salt='x'))
  for one in jobs:
    submit(sim, one)
    sim.run()
  assert [one.num_cached for one in jobs] == [0, 0, 0, 16]


def test_without_a_prefix_cache_nothing_is_kept():
  sim = Simulation(config(prefix_cache=False))
  for name in 'ab':
    one = job(tuple(range(3 * CHUNK)), name=name)
    submit(sim, one)
    sim.run()
    assert one.num_cached == 0
  (pool,) = sim.scheduler.tables.pools
  assert pool.num_kept == 0


def test_the_longest_unused_prefix_is_evicted_first():
  sim = Simulation(config(max_rows=1, cache_tokens=64))

  def run(stem, length=24):
    one = job((stem,) * length, name=f'{stem}', max_tokens=2)
    submit(sim, one)
    sim.run()
    return one.num_cached

  assert [run(stem) for stem in (1, 2)] == [0, 0]
  assert run(1) == 16  # used again, so 2 is the oldest
  run(3, 40)  # takes what 2 held
  assert run(1) == 16
  assert run(2) == 0


def test_the_end_of_a_prefix_is_evicted_before_its_beginning():
  sim = Simulation(config(max_rows=1, cache_tokens=64))
  for one in (job((1,) * 24, max_tokens=2), job((2,) * 48, max_tokens=2)):
    submit(sim, one)
    sim.run()
  again = job((1,) * 25, max_tokens=2)
  submit(sim, again)
  sim.run()
  assert again.num_cached == 16


def test_a_row_comes_back_over_the_pages_of_a_waiting_prompt():
  """Nobody else runs who could end and make room."""
  sim = Simulation(config(max_rows=1, cache_tokens=64, prefix_cache=False))
  one = job(40, n=2, max_tokens=8)
  submit(sim, one)
  while not (sim.scheduler.rows and not sim._flights):
    sim.step()
  (row,) = sim.scheduler.rows.values()
  assert one.table is not None
  sim._swapout(sim.scheduler.swap_out(row))
  sim.run()
  assert len(sim.finished) == 2


def test_the_first_in_order_starts_over_the_pages_of_a_waiting_prompt():
  sim = Simulation(config(max_rows=1, cache_tokens=64, prefix_cache=False))
  submit(sim, job(40, n=3, max_tokens=2, name='many'))
  submit(sim, job(40, max_tokens=2, name='other'))
  sim.run()
  assert [name for name, _ in starts(sim)] == ['many', 'many', 'other', 'many']


def test_rows_are_swapped_out_for_the_first_in_order_and_come_back():
  sim = Simulation(config(cache_tokens=64, prefix_cache=False))
  submit(sim, *(job(5, max_tokens=50, name=name) for name in 'abcd'))
  sim.run()
  assert sim.counts()['SwapOut'] > 0
  assert sim.counts()['SwapOut'] == sim.counts()['SwapIn']
  assert list(sim.finished.values()) == [50] * 4
  assert next(iter(sim.finished)) == ('a', 0)  # the first one never waits
  victims = [a.row.job.request.request_id for n, a in sim.log if n == 'SwapOut']
  assert 'a' not in victims


def test_a_waiting_prompt_gives_its_pages_before_a_row_does():
  sim = Simulation(config(max_rows=2, cache_tokens=64, prefix_cache=False))
  submit(sim, job(30, n=4, max_tokens=10), job(3, max_tokens=60, name='b'))
  sim.run()
  assert len(sim.finished) == 5
  assert sim.counts()['Prefill'] > 5  # 4 chunks and 1, were there room


def test_windowed_pools_hold_the_window_only():
  window = 10
  windows = (None, window)
  sim = Simulation(config(max_rows=1), windows)
  one = job(40, max_tokens=20)
  submit(sim, one)
  most = [0, 0]
  while sim.step():
    for row in sim.scheduler.rows.values():
      held = [sum(page != 0 for page in pages) for pages in row.table.pages]
      most = [max(pair) for pair in zip(most, held, strict=True)]
  assert most[0] == 15
  assert most[1] <= 5  # 10 + 3 positions touch 5 pages of 4 at most


def test_a_hit_needs_the_window_and_not_what_is_before():
  windows = (None, 10)
  sim = Simulation(config(max_rows=1), windows)
  prompt = tuple(range(5 * CHUNK))
  for name in 'ab':
    one = job(prompt, name=name, max_tokens=2)
    submit(sim, one)
    sim.run()
  assert one.num_cached == 32
  pool = sim.scheduler.tables.pools[1]
  pool.give_back(pool.take(pool.num_available))  # evicts every window
  last = job(prompt, name='c', max_tokens=2)
  submit(sim, last)
  sim.run()
  assert last.num_cached == 0


def test_cancel_at_every_stage():
  """Waiting, in prefill, placed, swapped out: nothing leaks."""
  for steps in range(1, 60, 3):
    for choice in (None, 1):
      sim = Simulation(config(cache_tokens=64))
      victim = job(20, n=3, max_tokens=30, name='victim')
      submit(sim, job(9, max_tokens=50), victim, job(9, n=2, max_tokens=9))
      for _ in range(steps):
        sim.step()
      was_open = {*victim.waiting, *(row.choice for row in victim.rows)}
      sim.scheduler.cancel(victim, choice)
      sim.scheduler.cancel(victim, 17)  # there is none
      assert victim.num_open == (len(was_open - {1}) if choice else 0)
      sim.run()
      assert sim.scheduler.tables.num_used == 0
      assert sim.scheduler.is_idle


def test_what_was_cancelled_before_it_was_added_never_starts():
  sim = Simulation(config())
  gone = job(n=2)
  sim.scheduler.cancel(gone)
  submit(sim, gone)
  assert sim.scheduler.is_idle
  assert not sim.step()


def check_invariants(sim):
  """Pages are referred to as often as sequences hold them, and no more."""
  plan = sim.scheduler
  tables = [row.table for row in plan.rows.values()]
  tables += [one.table for one in plan._queue if one.table is not None]
  for pool, pages in enumerate(plan.tables.pools):
    held = {page for table in tables for page in table.pages[pool] if page}
    assert pages.num_used == len(held)
  running = [(id(row.job), row.choice) for row in plan.rows.values()]
  assert len(running) == len(set(running))
  assert set(plan.rows).isdisjoint(plan._free_slots)


@pytest.mark.parametrize('windows', [(None,), (None, 10), (7,)])
@pytest.mark.parametrize('lookahead', [0, 2])
@pytest.mark.parametrize('seed', range(2))
def test_thousands_of_random_arrivals(windows, lookahead, seed):
  """Every read finds what it should; nothing leaks, nobody starves."""
  rng = random.Random(seed)
  ends = lambda row: rng.random() < 0.05
  sim = Simulation(config(cache_tokens=80), windows, lookahead, ends)
  alive, num_jobs, num_cached, cancelled = [], 0, 0, set()
  while num_jobs < NUM_JOBS or not sim.scheduler.is_idle:
    if num_jobs < NUM_JOBS and rng.random() < 0.15:
      prompt = simulation.random_prompt(rng, 40)
      one = job(
        prompt, rng.randint(1, 64 - len(prompt)), rng.choice([1, 1, 2, 5]),
        f'{num_jobs}', priority=rng.randint(-1, 1),
        cache_salt=rng.choice(['', 'salt']),
        constraint=rng.choice([None, None, lambda: simulation.Guesser(rng)]),
      )  # fmt: skip
      submit(sim, one)
      alive.append(one)
      num_jobs += 1
    sim.step()
    if alive and rng.random() < 0.03:
      victim, choice = rng.choice(alive), rng.choice([None, 0, 1])
      sim.scheduler.cancel(victim, choice)
      cancelled.add((victim.request.request_id, choice))
    num_cached += sum(one.num_cached or 0 for one in alive if not one.num_open)
    alive = [one for one in alive if one.num_open]
    if rng.random() < 0.1:
      check_invariants(sim)
  sim._land(0)
  assert sim.scheduler.tables.num_used == 0
  counts = sim.counts()
  if None in windows:  # windows alone are never short of pages
    assert counts['SwapOut'] >= counts['SwapIn'] > 20
  assert num_cached > 100
  assert sim.num_guesses > 50
  whole = {name for name, choice in cancelled if choice is None}
  for i in range(num_jobs):
    if str(i) not in whole and (str(i), 0) not in cancelled:
      assert (str(i), 0) in sim.finished
