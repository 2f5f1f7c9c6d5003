"""Configs: what they refuse, typed overrides, files, who beats whom."""

import dataclasses
import pathlib
import re

from hypothesis import given
from hypothesis import strategies as st
import pytest

from chatjax import config as config_lib
from chatjax import config_file
from chatjax import model_config
from chatjax.cli import flagset
from chatjax.cli import options
from chatjax.models import locate
from chatjax.models import registry

CONFIGS = sorted((pathlib.Path(__file__).parent.parent / 'configs').iterdir())
CONFIGS = [path for path in CONFIGS if path.suffix == '.py']
MODEL = {
  'vocab_size': 8, 'num_layers': 2, 'embed_dim': 8, 'num_heads': 4,
  'num_kv_heads': 2, 'head_dim': 4, 'mlp_dim': 16, 'max_context': 32,
}  # fmt: skip
LOCAL, GLOBAL = model_config.LayerKind.LOCAL, model_config.LayerKind.GLOBAL


def parsed(*argv):
  """The config that a command line makes."""
  values = flagset.new()
  options.define(values)
  flagset.parse(values, argv, command='test')
  return options.config(values)


@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)
def test_every_config_file_names_a_model(path):
  config = config_file.load_config(path)
  locate.check(config.model)
  on_chips = path.stem.rpartition('_')[2].isdigit()
  assert on_chips or config.model in registry.REGISTRY
  if on_chips:
    chips = int(path.stem.rpartition('_')[2])
    assert config.engine.mesh.num_devices == chips


@pytest.mark.parametrize(('fields', 'message'), [
    ({'num_heads': 3}, 'num_heads=3 is not a multiple of num_kv_heads=2'),
    ({'head_dim': 3}, 'head_dim=3 must be even'),
    ({'num_layers': 1001}, 'num_layers=1001 is over 1,000'),
    ({'num_layers': 0}, 'num_layers=0 must be positive'),
    ({'layer_kinds': (GLOBAL,)}, '1 entries for num_layers=2'),
    ({'layer_kinds': (GLOBAL, LOCAL)}, 'need a sliding_window, got None'),
])  # fmt: skip
def test_models_that_cannot_be(fields, message):
  with pytest.raises(config_lib.ConfigError, match=message):
    model_config.ModelConfig(**{**MODEL, **fields})


@pytest.mark.parametrize(('fields', 'message'), [
    ({'dtype': 'int4'}, "dtype='int4' is not one of int8, int8_weight"),
    ({'max_rows': 0}, 'max_rows=0 must be positive'),
    ({'max_rows': 257}, 'max_rows=257 is over 256'),
    ({'chunk': 96}, 'chunk=96 is not a multiple of page_size=64'),
    ({'context': 96}, 'context=96 is not a multiple of chunk=128'),
    ({'cache_tokens': 4100}, 'not a multiple of page_size'),
    ({'cache_tokens': 64}, 'less than one sequence'),
    ({'max_queue': 0}, 'max_queue=0 must be positive'),
])  # fmt: skip
def test_engines_that_cannot_be(fields, message):
  with pytest.raises(config_lib.ConfigError, match=message):
    config_lib.EngineConfig(**fields)


def test_what_follows_from_the_fields():
  model = model_config.ModelConfig(
    **MODEL, layer_kinds=(LOCAL, GLOBAL), sliding_window=5, rope_theta=7.0,
    local_rope_theta=3.0,
  )  # fmt: skip
  assert (model.window(LOCAL), model.window(GLOBAL)) == (5, None)
  assert (model.theta(LOCAL), model.theta(GLOBAL)) == (3.0, 7.0)
  assert (model.q_per_kv, model.q_scale) == (2, 0.5)
  plain = model_config.ModelConfig(**MODEL, query_scale=0.25)
  assert plain.layer_kinds == (GLOBAL, GLOBAL)
  assert plain.theta(LOCAL) == plain.rope_theta
  assert plain.q_scale == 0.25
  engine = config_lib.EngineConfig(max_rows=2, context=256)
  assert (engine.num_pages(), engine.pages_per_row) == (2 * 4 + 2, 4)
  largest = config_lib.EngineConfig(max_rows=256)
  assert largest.pages_per_row < largest.num_pages() < 256 * 64
  held = config_lib.EngineConfig(context=256, cache_tokens=640)
  assert held.num_pages() == 12


def test_overrides_take_the_type_of_the_field():
  made = config_file.apply_overrides(
    config_lib.Config(),
    ['engine.max_rows=4', 'engine.dtype=float32', 'model=x=y', 'serve.port=0'],
  )
  assert made.engine == config_lib.EngineConfig(max_rows=4, dtype='float32')
  assert (made.model, made.serve.port) == ('x=y', 0)


@pytest.mark.parametrize(('override', 'message'), [
    ('engine.max_rows', 'not of the form name=value'),
    ('engine=3', "'engine' is a group"),
    ('model.size=3', "no parts below 'model'"),
    ('engine.max_row=3', "did you mean 'max_rows'"),
    ('engin.max_rows=3', "Unknown config field 'engin.max_rows'"),
    ('=3', "Unknown config field ''"),
    ('engine.max_rows=3.0', 'not of type int'),
    ('engine.max_rows=True', 'not of type int'),
    ('engine.max_rows=', 'not of type int'),
    ('engine.max_rows=__import__("os")', 'not of type int'),
    ('engine.dtype=int4', 'is not one of int8, int8_weight, int4_weight, fp8'),
    ('engine.max_rows=0', 'must be positive'),
])  # fmt: skip
def test_overrides_that_are_refused(override, message):
  with pytest.raises(config_lib.ConfigError, match=message):
    config_file.apply_overrides(config_lib.Config(), [override])


@given(st.text(max_size=30))
def test_any_text_is_an_override_or_an_error(text):
  try:
    made = config_file.apply_overrides(config_lib.Config(), [text])
  except config_lib.ConfigError:
    return
  assert isinstance(made, config_lib.Config)


@given(st.text('()[]{}0-+*. "', max_size=40))
def test_any_value_is_a_number_or_an_error(text):
  try:
    made = config_file.apply_overrides(
      config_lib.Config(), [f'engine.max_queue={text}']
    )
  except config_lib.ConfigError:
    return
  assert made.engine.max_queue > 0


def test_optional_and_float_fields():
  @dataclasses.dataclass(frozen=True, kw_only=True)
  class Fields:
    scale: float = 1.0
    window: int | None = 3

  set_field = lambda text: config_file.apply_overrides(Fields(), [text])
  assert set_field('scale=2').scale == 2.0
  assert type(set_field('scale=2').scale) is float
  assert set_field('window=None').window is None
  assert set_field('window=5').window == 5
  with pytest.raises(config_lib.ConfigError, match='not of type int'):
    set_field('window=none')


def test_files_that_are_refused(tmp_path):
  path = tmp_path / 'config.py'
  with pytest.raises(config_lib.ConfigError, match='does not exist'):
    config_file.load_config(path)
  path.write_text('x = 1')
  with pytest.raises(config_lib.ConfigError, match=r'no get_config\(\)'):
    config_file.load_config(path)
  path.write_text('def get_config():\n  return {}')
  with pytest.raises(config_lib.ConfigError, match='returned dict'):
    config_file.load_config(path)


FAILING = {
  'def get_config(:': r', line 1: it is not Python \(',
  'x = 1\nx = y': r", line 2: NameError: name 'y' is not defined",
  'import no_such_module': r', line 1: ModuleNotFoundError: .*no_such_module',
  'raise ValueError': r', line 1: ValueError\.',
  'from chatjax import config\nconfig.EngineConfig(max_row=3)': (
    r", line 2: TypeError: .* unexpected keyword argument 'max_row'"
  ),
  'from chatjax import config\nconfig.EngineConfig(max_rows=0)': (
    r', line 2: max_rows=0 must be positive'
  ),
  'from chatjax import config\nconfig.EngineConfig(max_rows="3")': (
    r", line 2: max_rows='3' is not of type int"
  ),
}


@pytest.mark.parametrize('text', FAILING)
def test_files_that_fail(tmp_path, text):
  path = tmp_path / 'config.py'
  path.write_text(text)
  with pytest.raises(config_lib.ConfigError) as caught:
    config_file.load_config(path)
  message = str(caught.value)
  assert re.match(f"Config file '{path}'{FAILING[text]}", message), message
  assert '\n' not in message
  assert message.endswith('.')


@pytest.mark.parametrize('data', [b'\xff\xfe', b'x = "\xff"', b'\x00'])
def test_files_that_are_not_text(tmp_path, data):
  path = tmp_path / 'config.py'
  path.write_bytes(data)
  with pytest.raises(config_lib.ConfigError, match=f"^Config file '{path}'"):
    config_file.load_config(path)


@pytest.mark.parametrize(('make', 'message'), [
    (lambda: config_lib.EngineConfig(max_rows=2.0), 'max_rows=2.0 is not of'),
    (lambda: config_lib.EngineConfig(max_rows=True), 'max_rows=True is not of'),
    (lambda: config_lib.EngineConfig(dtype=None), 'dtype=None is not one of'),
    (lambda: config_lib.ServeConfig(host=None), 'host=None is not of type str'),
    (lambda: config_lib.Config(engine={}), 'engine={} is not of type Engine'),
    (lambda: config_lib.Config(model=7), 'model=7 is not of type str'),
    (lambda: model_config.ModelConfig(**MODEL, rope_theta='x'),
     "rope_theta='x'"),
    (lambda: model_config.ModelConfig(**MODEL, layer_kinds=('local',) * 2),
     'layer_kinds='),
    (lambda: model_config.ModelConfig(**MODEL, qk_norm=1), 'qk_norm=1 is not'),
    (lambda: model_config.ModelConfig(**MODEL, activation='relu'),
     "activation='relu' is not one of silu, gelu_tanh"),
])  # fmt: skip
def test_values_of_the_wrong_type(make, message):
  with pytest.raises(config_lib.ConfigError, match=message):
    make()


def test_overrides_that_are_valid_only_together():
  for overrides in (
    ['engine.chunk=96', 'engine.page_size=32', 'engine.context=960'],
    ['engine.context=960', 'engine.page_size=32', 'engine.chunk=96'],
  ):
    made = config_file.apply_overrides(config_lib.Config(), overrides)
    assert made.engine == config_lib.EngineConfig(
      chunk=96, page_size=32, context=960
    )
  made = parsed('--set=engine.chunk=96', '--set=engine.page_size=32',
                '--context=960')  # fmt: skip
  assert (made.engine.chunk, made.engine.context) == (96, 960)


def test_a_flag_beats_set_beats_the_file(tmp_path):
  path = tmp_path / 'config.py'
  path.write_text(
    'from chatjax import config\n'
    'def get_config():\n'
    '  return config.Config(model="gemma-3-270m",\n'
    '    engine=config.EngineConfig(max_rows=2, context=512, chunk=128))\n'
  )
  made = parsed(f'--config={path}')
  assert (made.model, made.engine.max_rows) == ('gemma-3-270m', 2)
  made = parsed('--set=engine.max_rows=3', f'--config={path}')
  assert (made.engine.max_rows, made.engine.context) == (3, 512)
  made = parsed(
    '--max_rows=5', '--set=engine.max_rows=3', '--set=engine.max_rows=4',
    f'--config={path}', '--model=smollm2-135m-instruct', '--dtype=float32',
  )  # fmt: skip
  assert made.model == 'smollm2-135m-instruct'
  assert made.engine == config_lib.EngineConfig(
    max_rows=5, context=512, chunk=128, dtype='float32'
  )
  later = parsed('--set=engine.max_rows=3', '--set=engine.max_rows=4')
  assert later.engine.max_rows == 4
  assert parsed() == config_lib.Config()
