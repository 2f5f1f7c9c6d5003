"""Where the time of a decode step goes, on the tiny model."""

import dataclasses

import pytest

from chatjax.cli import bench_engine
from chatjax.cli import bench_file
from chatjax.cli import bench_profile
from chatjax.cli import flagset
from chatjax.engine import engine as engine_lib
from chatjax.testing import tiny

BLOCK = 'jit(decode)/while/body/jit(_run_block)/Block'


@pytest.mark.parametrize(('name', 'part'), [
    (f'{BLOCK}/attn/qkv/ffi_call', 'qkv product'),
    (f'{BLOCK}/attn/out/ffi_call', 'out product'),
    (f'{BLOCK}/mlp/gate_up/dot_general', 'gate and up product'),
    (f'{BLOCK}/mlp/down/ffi_call', 'down product'),
    (f'{BLOCK}/mlp/ffi_call', 'gated activation'),
    (f'{BLOCK}/attn/ffi_call', 'attention over pages'),
    (f'{BLOCK}/attn/mul', 'rotary embedding'),
    (f'{BLOCK}/attn_norm/reduce_sum', 'norms'),
    (f'{BLOCK}/post_mlp_norm/mul', 'norms'),
    ('jit(decode)/while/body/Table.score/ffi_call', 'unembedding'),
    ('jit(decode)/while/body/while/body/jit(_draw)/exp', 'sampling'),
    ('jit(decode)/while/body/add', 'other'),
])  # fmt: skip
def test_parts_of_operations(name, part):
  assert bench_profile.part_of(name) == part


def test_holders_are_not_counted_again():
  hlo = f'''
    %fusion.3 = f32[2]{{0}} fusion(%a), metadata={{op_name="{BLOCK}/attn/mul"}}
    ROOT %ffi_call = f32[2]{{0}} custom-call(), metadata={{op_name="{BLOCK}/x"}}
    %while.1 = (f32[2]) while(%t), metadata={{op_name="{BLOCK}/attn/while"}}
    %nameless = f32[2]{{0}} copy(%a)
  '''
  parts = bench_profile.parts_by_instruction(hlo)
  assert parts == {'fusion.3': 'rotary embedding', 'ffi_call': 'other'}
  events = [('fusion.3', 1.0), ('fusion.3', 2.0), ('while.1', 9.0), ('x', 5.0)]
  sums = bench_profile.sums(events, parts)
  assert sums.pop('rotary embedding') == 3.0
  assert set(sums.values()) == {0.0}


@pytest.mark.slow
def test_a_profile_of_the_tiny_model(tmp_path):
  config = dataclasses.replace(tiny.ENGINE, max_rows=2)
  engine = engine_lib.Engine(tiny.weights('llama', 'int8'), config)
  bench = bench_engine.Bench(engine, range(250))
  profiler = bench_profile.Profiler(engine, bench, tmp_path)
  profiles = [
    profiler.run(rows, prompt_len=8, num_tokens=60) for rows in (1, 2)
  ]
  engine.close()
  for rows, profile in enumerate(profiles, start=1):
    assert profile['rows'] == rows
    for part in set(bench_profile.PARTS) - {'other'}:
      assert profile['parts'][part] > 0, part
    # Two threads at most, and nothing counted twice.
    assert sum(profile['parts'].values()) < 2.5 * profile['traced_step_s']
    assert 0 < profile['host_gap_s'] < profile['step_s']
    assert list(tmp_path.glob(f'rows_{rows}/**/perfetto_trace.json.gz'))
  text = bench_profile.table(profiles, [1e-5, 2e-5])
  rows = [line.count('|') for line in text.splitlines()]
  assert set(rows) == {4}
  assert len(rows) == 2 + len(bench_profile.PARTS) + 3


def test_a_folder_that_cannot_be(tmp_path):
  (tmp_path / 'file').write_text('')
  with pytest.raises(flagset.UsageError, match=r'--profile=.*cannot be a fold'):
    bench_file.folder(f'{tmp_path}/file')
  assert bench_file.folder(f'{tmp_path}/a/b').is_dir()
  assert bench_file.folder(None) is None
