"""Programs that answer the same prompts with the same weights, timed alike.

A peer takes prompts that arrive together and returns one `Timeline` each;
what a rate is, is computed from timelines in one place for all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from concurrent import futures
import dataclasses
import json
import os
import pathlib
import signal
import socket
import subprocess
import tempfile
import time
from typing import Any
from typing import Protocol

import httpx
import processes

_START_TIMEOUT_S = 1200  # a first start fetches, converts and compiles
_REQUEST_TIMEOUT_S = 600
_STOP_TIMEOUT_S = 20


@dataclasses.dataclass(frozen=True, kw_only=True)
class Timeline:
  """When the tokens of one answer arrived.

  Attributes:
    prompt_tokens: length of the prompt, template included.
    arrivals: (seconds since the prompts were sent, tokens so far).
  """

  prompt_tokens: int
  arrivals: tuple[tuple[float, int], ...]

  @property
  def first_s(self) -> float:
    return self.arrivals[0][0]

  @property
  def last_s(self) -> float:
    return self.arrivals[-1][0]

  def tokens_by(self, time_s: float) -> int:
    """Tokens that had arrived at a time."""
    return max((n for t, n in self.arrivals if t <= time_s), default=0)


class Program(Protocol):
  """A started program under test."""

  name: str
  pid: int  # leads its own process group

  def stop(self) -> None:
    """Ends the program."""


class Peer(Program, Protocol):
  """A program that answers plain prompts."""

  def run(self, prompts: Sequence[str], max_tokens: int) -> list[Timeline]:
    """Sends all prompts at once; greedy, exactly `max_tokens` tokens each."""


def _end(process: subprocess.Popen) -> None:
  if process.poll() is not None:
    return
  os.killpg(process.pid, signal.SIGTERM)
  try:
    process.wait(_STOP_TIMEOUT_S)
  except subprocess.TimeoutExpired:
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def free_port() -> int:
  """A TCP port that nobody listens on at the moment."""
  with socket.socket() as sock:
    sock.bind(('127.0.0.1', 0))
    return sock.getsockname()[1]


class Server:
  """A server with OpenAI's streaming chat completions."""

  def __init__(
    self,
    name: str,
    command: Sequence[str],
    *,
    port: int,
    extra: dict[str, Any],
    min_tokens: bool = False,
  ):
    """Starts the server and waits until its /health answers 200.

    Its address is then in `url`.

    Args:
      name: what the tables call it.
      command: the program and its arguments.
      port: where the command makes it listen.
      extra: fields of every request, beyond OpenAI's.
      min_tokens: whether it knows `min_tokens` (and wants it).
    """
    self.name = name
    self._extra = extra
    self._min_tokens = min_tokens
    self.url = f'http://127.0.0.1:{port}'
    self._log = pathlib.Path(tempfile.mkdtemp(), f'{name}.log')
    # A llama-server out of a Python package has its libraries beside it.
    libraries = f'{pathlib.Path(command[0]).parent}:'
    libraries += os.environ.get('LD_LIBRARY_PATH', '')
    with self._log.open('w') as log:
      self._process = subprocess.Popen(
        command,
        stdout=log,
        stderr=log,
        start_new_session=True,
        env=os.environ | {'LD_LIBRARY_PATH': libraries},
      )
    self.pid = self._process.pid
    try:
      self._wait()
    except BaseException:
      self.stop()
      raise

  def _wait(self) -> None:
    deadline = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < deadline:
      if self._process.poll() is not None:
        break
      try:
        if httpx.get(f'{self.url}/health').status_code == 200:
          return
      except httpx.TransportError:
        pass  # not listening yet
      time.sleep(0.2)
    raise RuntimeError(
      f'{self.name} did not start (exit {self._process.poll()}), log'
      f' {self._log}: {self._log.read_text()[-500:]}'
    )

  def run(self, prompts: Sequence[str], max_tokens: int) -> list[Timeline]:
    with (
      httpx.Client(timeout=_REQUEST_TIMEOUT_S) as client,
      futures.ThreadPoolExecutor(len(prompts)) as pool,
    ):
      client.get(f'{self.url}/health')  # the client is warm
      start_s = time.perf_counter()
      jobs = [
        pool.submit(self._stream, client, prompt, max_tokens, start_s)
        for prompt in prompts
      ]
      return [job.result() for job in jobs]

  def _body(self, prompt: str, max_tokens: int) -> dict[str, Any]:
    body = {
      'messages': [{'role': 'user', 'content': prompt}],
      'max_tokens': max_tokens,
      'temperature': 0,
      'stream': True,
      'stream_options': {'include_usage': True},
      'ignore_eos': True,
    }
    if self._min_tokens:
      body['min_tokens'] = max_tokens
    return body | self._extra

  def _stream(
    self, client: httpx.Client, prompt: str, max_tokens: int, start_s: float
  ) -> Timeline:
    arrivals, count, usage = [], 0, None
    body = self._body(prompt, max_tokens)
    url = f'{self.url}/v1/chat/completions'
    with client.stream('POST', url, json=body) as response:
      if response.status_code != 200:
        raise RuntimeError(f'{self.name}: {response.read().decode()}')
      for line in response.iter_lines():
        now_s = time.perf_counter() - start_s
        if not line.startswith('data: {'):
          continue
        chunk = json.loads(line.removeprefix('data: '))
        if 'error' in chunk:
          raise RuntimeError(f'{self.name}: {chunk["error"]}')
        usage = chunk.get('usage') or usage
        before, count = count, _count(chunk, count)
        if count > before:
          arrivals.append((now_s, count))
    if count != max_tokens or not usage:
      raise RuntimeError(
        f'{self.name} sent {count} tokens and usage {usage};'
        f' {max_tokens} tokens and a usage were asked for.'
      )
    return Timeline(
      prompt_tokens=usage['prompt_tokens'], arrivals=tuple(arrivals)
    )

  def stop(self) -> None:
    _end(self._process)


def _count(chunk: dict[str, Any], count: int) -> int:
  """Tokens sent so far: text alone does not tell (a token may have none)."""
  if 'timings' in chunk:  # llama.cpp with timings_per_token
    return chunk['timings']['predicted_n']
  ids = [choice.get('token_ids') or () for choice in chunk['choices']]
  return count + sum(map(len, ids))


class Process:
  """A program that takes a JSON object a line, and answers with one."""

  def __init__(self, name: str, command: Sequence[str]):
    """Starts the program and waits until it says what it is.

    Args:
      name: what the tables call it.
      command: the program and its arguments.
    """
    self.name = name
    self._log = pathlib.Path(tempfile.mkdtemp(), f'{name}.log')
    with self._log.open('w') as log:
      self._process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
        start_new_session=True,
      )
    self.pid = self._process.pid
    try:
      self.versions = self._read()
    except BaseException:
      self.stop()
      raise

  def _read(self) -> Any:
    line = self._process.stdout.readline()
    if not line:
      raise RuntimeError(
        f'{self.name} ended, log {self._log}: {self._log.read_text()[-500:]}'
      )
    return json.loads(line)

  def ask(self, job: dict[str, Any]) -> Any:
    """Hands in a job and waits for its answer."""
    self._process.stdin.write(json.dumps(job) + '\n')
    self._process.stdin.flush()
    return self._read()

  def stop(self) -> None:
    _end(self._process)
    self._process.stdin.close()
    self._process.stdout.close()


class Worker(Process):
  """`transformers` in a process of its own: scripts/oracle_worker.py."""

  def __init__(self, python: str, gguf: str, *, threads: int):
    script = pathlib.Path(__file__).with_name('oracle_worker.py')
    super().__init__(
      'transformers',
      [python, str(script), f'--gguf={gguf}', f'--threads={threads}'],
    )

  def run(self, prompts: Sequence[str], max_tokens: int) -> list[Timeline]:
    answer = self.ask({'prompts': list(prompts), 'max_tokens': max_tokens})
    arrivals = tuple((t, i + 1) for i, t in enumerate(answer['times_s']))
    return [
      Timeline(prompt_tokens=count, arrivals=arrivals)
      for count in answer['prompt_tokens']
    ]


def idle_share(
  running: Sequence[Program], worker: Program
) -> Callable[[], float]:
  """Starts a stopwatch; calling it gives the idle peers' processor share."""
  idle = [peer for peer in running if peer is not worker]
  used_s = sum(processes.cpu_s(peer.pid) for peer in idle)
  begin_s = time.monotonic()

  def share() -> float:
    now_s = sum(processes.cpu_s(peer.pid) for peer in idle)
    return (now_s - used_s) / (time.monotonic() - begin_s)

  return share
