"""Times chatjax and its peers: same weights, same prompts, in turn, one run.

    python scripts/bench_peers.py --gguf=FILE [--oracle_python=PYTHON] \
        [--llama_server=PROGRAM] [--rounds=3] [--out=FILE.json]
    python scripts/bench_peers.py --http --gguf=FILE \
        [--llama_server=PROGRAM] [--rounds=3] [--out=FILE.json] \
        [--plot=FILE.png]

Needs the `[dev]` extra, and `[parity]` in the interpreter of --oracle_python.
With --http it measures servers alone, as scripts/bench_http.py says.

Every round asks every peer for (a) one answer, (b) eight answers at once,
(c) the first token after a long prompt, and (d) one answer that edits code and
one that quotes a text, where chatjax guesses ahead; all peers stay loaded, one
works at a time. Prompts differ by stream and by round, so no prefix cache
helps; answers are greedy and forced to `--max_tokens` tokens. Figures are
medians over rounds, ratios are medians of the rounds' ratios.

`transformers` runs in float32: that is what it makes of a GGUF file, torch has
no int8 path for it, and without bfloat16 instructions in the processor the
smaller dtype is the slower one for a lone stream and for long prompts.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
import json
import logging
import os
import pathlib
import platform
import random
import shutil
import subprocess
import sys
import time

from absl import app
from absl import flags
import bench_figures
import bench_http
import bench_repeats
import peers
import plot_http
import processes

_MODEL = flags.DEFINE_string(
  'model', 'qwen2.5-coder-0.5b-instruct', 'Model id of chatjax.'
)
_GGUF = flags.DEFINE_string(
  'gguf', None, 'The same weights as a file, for the other two peers.'
)
_PEERS = flags.DEFINE_list(
  'peers',
  [bench_figures.CHATJAX, bench_figures.TRANSFORMERS, bench_figures.LLAMA],
  'Who is timed.',
)
_ROUNDS = flags.DEFINE_integer('rounds', 3, 'Rounds.', lower_bound=1)
_MAX_TOKENS = flags.DEFINE_integer(
  'max_tokens', 64, 'Tokens of every answer.', lower_bound=8
)
_STREAMS = flags.DEFINE_integer(
  'streams', 8, 'Answers at once.', lower_bound=2, upper_bound=16
)
_THREADS = flags.DEFINE_integer(
  'threads', os.cpu_count(), 'Threads of transformers and llama.cpp.'
)
_DTYPE = flags.DEFINE_string('dtype', 'int8', 'dtype of chatjax.')
_CHATJAX_BIN = flags.DEFINE_string(
  'chatjax',
  str(pathlib.Path(sys.executable).with_name('chatjax')),
  'The console command.',
)
_ORACLE_PYTHON = flags.DEFINE_string(
  'oracle_python', sys.executable, 'Interpreter with the [parity] extra.'
)
_LLAMA_SERVER = flags.DEFINE_string(
  'llama_server', 'llama-server', 'A program on the PATH, or its path.'
)
_HTTP = flags.DEFINE_boolean(
  'http', False, 'Times the servers over HTTP, and chatjax in Python.'
)
_HTTP_STREAMS = flags.DEFINE_multi_integer(
  'http_streams',
  [1, 4, 8, 16],
  'Answers at once with --http, instead of --streams; repeated.',
  lower_bound=1,
  upper_bound=16,
)
_INPUT_WORDS = flags.DEFINE_integer(
  'input_words', 32, 'Words of every question with --http.', lower_bound=1
)
_SHARED_WORDS = flags.DEFINE_integer(
  'shared_words',
  950,
  'Words of the shared system prompt with --http: about as many tokens.',
  lower_bound=1,
)
_PLOT = flags.DEFINE_string(
  'plot', None, 'PNG file of the figures of --http; needs [notebooks].'
)
_OUT = flags.DEFINE_string('out', None, 'JSON file for all figures.')

_TOPICS = json.loads(
  pathlib.Path(__file__).with_name('bench_prompts.json').read_text()
)


def prompts(round_number: int, count: int) -> list[str]:
  """Short prompts that no other round has."""
  topics = random.Random(round_number).sample(_TOPICS, count)
  return [f'{round_number}.{i} {topic}' for i, topic in enumerate(topics)]


def long_prompt(round_number: int) -> str:
  """About 512 tokens that share no beginning with another round's."""
  topics = random.Random(-round_number - 1).sample(_TOPICS, len(_TOPICS))
  lines = (topics * 2)[:34]
  return f'List {round_number}:\n' + '\n'.join(
    f'{i}. {line}' for i, line in enumerate(lines)
  )


def measure(peer: peers.Peer, round_number: int) -> dict[str, float | None]:
  """One round of one peer."""
  single, *several = prompts(round_number, _STREAMS.value + 1)
  (one,) = peer.run([single], _MAX_TOKENS.value)
  crowd = peer.run(several, _MAX_TOKENS.value)
  (long,) = peer.run([long_prompt(round_number)], 1)
  (edited,) = peer.run([bench_repeats.edit(round_number)], _MAX_TOKENS.value)
  (quoted,) = peer.run([bench_repeats.quote(round_number)], _MAX_TOKENS.value)
  return bench_figures.figures(one, crowd, long, edited, quoted)


def start_chatjax() -> peers.Peer:
  port = peers.free_port()
  command = [
    _require(_CHATJAX_BIN.value, '--chatjax'),
    'serve',
    f'--model={_MODEL.value}',
    f'--port={port}',
    f'--dtype={_DTYPE.value}',
    f'--max_rows={_slots()}',
  ]
  return peers.Server(
    bench_figures.CHATJAX,
    command,
    port=port,
    extra={'model': _MODEL.value, 'return_token_ids': True},
    min_tokens=True,
  )


def start_transformers() -> peers.Peer:
  python = _require(_ORACLE_PYTHON.value, '--oracle_python')
  probe = [python, '-c', 'import absl, gguf, torch, transformers']
  if subprocess.run(probe, capture_output=True, check=False).returncode:
    raise FileNotFoundError(
      f'{python} lacks the [parity] extra; name one with --oracle_python.'
    )
  return peers.Worker(python, _gguf(), threads=_THREADS.value)


def start_llama() -> peers.Peer:
  port = peers.free_port()
  command = [
    _require(_LLAMA_SERVER.value, '--llama_server'),
    f'--model={_gguf()}',
    f'--port={port}',
    f'--threads={_THREADS.value}',
    f'--threads-batch={_THREADS.value}',
    f'--parallel={_slots()}',
    f'--ctx-size={_slots() * 2048}',
  ]
  # Its flags are `--name value`.
  command = [part for item in command for part in item.split('=', 1)]
  return peers.Server(
    bench_figures.LLAMA,
    command,
    port=port,
    extra={'cache_prompt': False, 'timings_per_token': True},
  )


def start_python() -> peers.Program:
  worker = pathlib.Path(__file__).with_name('engine_worker.py')
  return peers.Process(
    bench_http.PYTHON,
    [
      sys.executable,
      str(worker),
      f'--model={_MODEL.value}',
      f'--dtype={_DTYPE.value}',
      f'--max_rows={_slots()}',
    ],
  )


START: dict[str, Callable[[], peers.Peer]] = {
  bench_figures.CHATJAX: start_chatjax,
  bench_figures.TRANSFORMERS: start_transformers,
  bench_figures.LLAMA: start_llama,
}


def _slots() -> int:
  """Answers at once that a server has room for."""
  return max(_HTTP_STREAMS.value) if _HTTP.value else _STREAMS.value


def _require(program: str, flag: str) -> str:
  path = shutil.which(program)
  if path is None:
    raise FileNotFoundError(f'no program {program!r}; name one with {flag}.')
  return path


def _gguf() -> str:
  if not _GGUF.value:
    raise FileNotFoundError('no weights; name the file with --gguf.')
  if not pathlib.Path(_GGUF.value).is_file():
    raise FileNotFoundError(f'no file {_GGUF.value!r} (--gguf).')
  return _GGUF.value


def start_all(running: list[peers.Peer]) -> None:
  """Starts and warms the wanted peers; names the ones that are missing.

  Args:
    running: takes each peer as soon as it is up, so that it can be ended
      whatever happens to the next one.
  """
  for name in _PEERS.value:
    begin_s = time.monotonic()
    try:
      running.append(START[name]())
    except FileNotFoundError as error:
      print(f'{name}: skipped, {error}', flush=True)
      continue
    running[-1].run(prompts(-1, _STREAMS.value), 8)
    print(f'{name}: ready in {time.monotonic() - begin_s:.1f} s', flush=True)


def bench(running: Sequence[peers.Peer]) -> list[dict]:
  """One dict per round and peer, in the order they were taken."""
  samples = []
  for round_number in range(_ROUNDS.value):
    for peer in running:
      share = peers.idle_share(running, peer)
      sample = measure(peer, round_number)
      sample |= {'peer': peer.name, 'round': round_number}
      sample['idle_peers_cpu'] = share()
      samples.append(sample)
      print(
        f'round {round_number} {peer.name}: {bench_figures.brief(sample)}',
        flush=True,
      )
  return samples


def http_peers(running: list[peers.Program]) -> list[bench_http.Measured]:
  """Starts and warms chatjax, llama.cpp and the engine in Python.

  Args:
    running: as in `start_all`.

  Returns: those that are there, ready to be measured.
  """
  plan, out = http_plan(), []
  for name, start in (START | {bench_http.PYTHON: start_python}).items():
    wanted = bench_figures.CHATJAX if name == bench_http.PYTHON else name
    if wanted not in _PEERS.value or name == bench_figures.TRANSFORMERS:
      continue
    begin_s = time.monotonic()
    try:
      running.append(start())
    except FileNotFoundError as error:
      print(f'{name}: skipped, {error}', flush=True)
      continue
    if name == bench_http.PYTHON:
      out.append(bench_http.InPython(running[-1]))
    else:
      model = _MODEL.value if name == bench_figures.CHATJAX else name
      out.append(bench_http.OverHttp(running[-1], model))
    bench_http.warm_up(out[-1], plan)
    print(f'{name}: ready in {time.monotonic() - begin_s:.1f} s', flush=True)
  return out


def http_plan() -> bench_http.Plan:
  return bench_http.Plan(
    streams=tuple(sorted(set(_HTTP_STREAMS.value))),
    input_words=_INPUT_WORDS.value,
    output_tokens=_MAX_TOKENS.value,
    shared_words=_SHARED_WORDS.value,
  )


def machine() -> dict[str, str | int | None]:
  cpuinfo = pathlib.Path('/proc/cpuinfo')
  lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
  model = [line for line in lines if line.startswith('model name')]
  return {
    'cpu': model[0].partition(': ')[2] if model else platform.processor(),
    'cores': os.cpu_count(),
    'system': platform.platform(),
  }


def write(result: dict) -> None:
  """Writes all figures to --out, with what they were taken on."""
  names = (
    'model', 'dtype', 'rounds', 'max_tokens', 'streams', 'threads', 'http',
    'http_streams', 'input_words', 'shared_words',
  )  # fmt: skip
  chosen = {name: flags.FLAGS[name].value for name in names}
  text = json.dumps({'machine': machine(), 'flags': chosen} | result, indent=2)
  pathlib.Path(_OUT.value).write_text(text + '\n')


def main(argv: list[str]) -> None:
  if len(argv) > 1:
    raise app.UsageError(f'Unexpected arguments {argv[1:]}; use flags.')
  unknown = sorted(set(_PEERS.value) - set(START))
  if unknown:
    raise app.UsageError(f'Unknown peers {unknown}; have {sorted(START)}.')
  if _PLOT.value and not _HTTP.value:
    raise app.UsageError('--plot draws the figures of --http; give that too.')
  logging.getLogger('httpx').setLevel(logging.WARNING)  # a line per request
  if _PLOT.value:
    plot_http.require()  # before an hour of measuring
  metrics = (
    bench_http.metrics(http_plan().streams)
    if _HTTP.value
    else (bench_figures.METRICS)
  )
  running = []
  try:
    samples = sample(running)
    rss_mb = {peer.name: processes.peak_rss_mb(peer.pid) for peer in running}
  finally:
    for peer in running:
      peer.stop()
  summary = bench_figures.summarise(samples, metrics)
  bench_figures.print_table(summary, rss_mb, metrics)
  result = {'peak_rss_mb': rss_mb, 'summary': summary, 'samples': samples}
  if _OUT.value:
    write(result)
  if _PLOT.value:
    plot_http.draw(result, _PLOT.value)


def sample(running: list[peers.Program]) -> list[dict]:
  """Starts who is wanted and takes all samples."""
  if _HTTP.value:
    ready = http_peers(running)
  else:
    start_all(running)
    ready = running
  if not ready:
    raise app.UsageError('No peer is there to be timed; see above.')
  if _HTTP.value:
    return bench_http.bench(ready, http_plan(), _ROUNDS.value)
  return bench(running)


if __name__ == '__main__':
  app.run(main)
