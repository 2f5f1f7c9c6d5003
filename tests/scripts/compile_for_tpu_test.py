"""What compile_for_tpu finds wrong with programs; compiles none."""

import dataclasses
import pathlib
import runpy

import pytest

from chatjax import config as config_lib
from chatjax.engine import footprint
from chatjax.testing import tiny

ROOT = pathlib.Path(__file__).parents[2]
SCRIPT = runpy.run_path(str(ROOT / 'scripts' / 'compile_for_tpu.py'))
GIB = 2**30
LAYERS = tiny.CONFIGS['gemma3'].num_layers
GOOD = SCRIPT['Compiled'](
  name='decode',
  model=tiny.CONFIGS['gemma3'],
  mesh=config_lib.MeshConfig(model=2),
  dtype='bfloat16',
  seconds=1.0,
  processor_seconds=1.0,
  params=GIB,
  cache=2 * GIB,
  state=GIB,
  footprint=footprint.Footprint(
    arguments=4 * GIB,
    results=0,
    scratch=3 * GIB,
    donated=3 * GIB,
    collectives={'all-reduce': 2 * LAYERS + 1, 'all-gather': 1},
    widest_sort=0,
    kernels={SCRIPT['KERNEL']: LAYERS},
  ),
)


def faults(memory=8 * GIB, made=GOOD, **changes):
  seen = dataclasses.replace(made.footprint, **changes)
  return SCRIPT['faults'](dataclasses.replace(made, footprint=seen), memory)


def test_a_good_program_has_none():
  assert faults() == []


@pytest.mark.parametrize(('changes', 'why'), [
    ({'memory': 7 * GIB - 1}, 'do not fit'),
    ({'donated': 3 * GIB - 1}, 'are donated'),
    ({'collectives': {'all-reduce': 2 * LAYERS + 1}}, 'it sends'),
    ({'collectives': {'all-reduce': 99, 'all-gather': 1}}, 'it sends'),
    ({'widest_sort': GOOD.model.vocab_size}, 'are sorted'),
    ({'kernels': {}}, 'its kernels'),
])  # fmt: skip
def test_what_is_wrong_is_named(changes, why):
  (fault,) = faults(**changes)
  assert why in fault


def test_a_chunk_must_not_copy_pages():
  made = dataclasses.replace(GOOD, name='prefill', state=0)
  sent = {'all-reduce': 2 * LAYERS + 1}
  (fault,) = faults(made=made, collectives=sent)
  assert 'copy of pages' in fault
  assert faults(made=made, collectives=sent, scratch=GIB) == []


@pytest.mark.parametrize(('mesh', 'dtype', 'all_reduces', 'all_gathers'), [
    ({'model': 4}, 'bfloat16', 2 * LAYERS + 1, 1),
    ({'model': 4}, 'int8_channel', 4 * LAYERS + 1, 1),
    ({'expert': 4}, 'int8_channel', LAYERS, 0),
    ({}, 'bfloat16', 0, 0),
])  # fmt: skip
def test_collectives_follow_from_the_mesh(
  mesh, dtype, all_reduces, all_gathers
):
  made = dataclasses.replace(
    GOOD, mesh=config_lib.MeshConfig(**mesh), dtype=dtype
  )
  expected = SCRIPT['expected_collectives'](made)
  assert expected.get('all-reduce', 0) == all_reduces
  assert expected.get('all-gather', 0) == all_gathers


def test_a_row_replaces_its_own_in_the_page():
  first, second = (
    SCRIPT['row'](deployment, GOOD) for deployment in SCRIPT['DEPLOYMENTS'][:2]
  )
  page = f'before\n{SCRIPT["BEGIN"]}{SCRIPT["END"]}after\n'
  page = SCRIPT['merged'](page, [second])
  page = SCRIPT['merged'](page, [first])
  assert SCRIPT['merged'](page, [second]) == page
  lines = page.splitlines()
  assert lines[4:6] == [first, second]
  assert (lines[0], lines[-1]) == ('before', 'after')


def test_what_a_program_does_is_read_from_its_text():
  class Program:
    def memory_analysis(self):
      return type('Memory', (), dict.fromkeys((
          'argument_size_in_bytes', 'output_size_in_bytes',
          'alias_size_in_bytes', 'temp_size_in_bytes',
      ), 0))  # fmt: skip

    def as_text(self):
      return '\n'.join(
        [
          '%ar = f32[8]{0} all-reduce(%x), channel_id=1',
          '%ag = (f32[8], f32[16]) all-gather-start(%x), channel_id=2',
          '%agd = f32[16]{0} all-gather-done(%ag)',
          '%s = (f32[4,300]{1,0}, s32[4,300]{1,0}) sort(%a, %b), dimensions=1',
          '%kernel_of.1 = bf16[2] custom-call(%x), custom_call_target='
          '"tpu_custom_call"',
          '%kernel_of = bf16[2] custom-call(%x), custom_call_target='
          '"tpu_custom_call"',
        ]
      )

  seen = footprint.of(Program())
  assert seen.collectives == {'all-reduce': 1, 'all-gather': 1}
  assert seen.widest_sort == 300
  assert seen.kernels == {'kernel_of': 2}
