"""Runs of the command on a scripted engine, in processes that can be killed."""

import json
import os
import pathlib
import signal
import subprocess
import sys

ROOT = pathlib.Path(__file__).parent.parent.parent
MODEL = 'smollm2-135m-instruct'
CHAT, TEXT = '/v1/chat/completions', '/v1/completions'


def line(custom_id, url=CHAT, **body):
  """One line of a file, valid unless fields say otherwise."""
  if url == CHAT:
    body = {'messages': [{'role': 'user', 'content': custom_id}], **body}
  body = {'model': MODEL, **body}
  fields = {
    'custom_id': custom_id,
    'method': 'POST',
    'url': url,
    'body': body,
  }
  return json.dumps(fields).encode() + b'\n'


def mixed(count):
  """A file of many kinds of requests, some of which are wrong."""
  for i in range(count):
    if i % 10 == 7:
      yield line(f'bad-{i}', temperature=9)
    elif i % 10 == 8:
      yield line(f'text-{i}', TEXT, prompt=[f'a {i}', f'b {i}'], logprobs=1)
    elif i % 30 == 9:
      yield b'{"custom_id": "torn-%d"\n' % i
    elif i % 10 == 4:
      yield line(f'many-{i}', n=2, seed=i, logprobs=True)
    else:
      content = f'{"word " * (i * 7 % 11)}{i}'
      messages = [{'role': 'user', 'content': content}]
      yield line(f'chat-{i}', messages=messages, max_tokens=20 + i % 40)


def write(path, lines):
  path.write_bytes(b''.join(lines))
  return path


def command(path, output, *flags, model=MODEL):
  """The arguments of `chatjax batch`."""
  return [
    *('batch', f'--model={model}', f'--input={path}', f'--output={output}'),
    *flags,
  ]


class Process:
  """The command, started by a `Forker`."""

  def __init__(self, forker, pid, told):
    self.pid = pid
    self._forker = forker
    self._told = told
    self._code = None

  def kill(self):
    os.kill(self.pid, signal.SIGKILL)

  def wait(self, timeout_s=60.0):
    """The exit code; None if it has not ended in time."""
    if self._code is None:
      self._code = self._forker.ask(wait=self.pid, timeout_s=timeout_s)
    return self._code

  @property
  def told(self):
    """What it wrote so far."""
    return self._told.read_text()


class Forker:
  """Starts commands in processes of their own without starting Python anew."""

  def __init__(self, folder):
    self._folder = folder
    self._count = 0
    self._process = subprocess.Popen(
      [sys.executable, '-m', 'tests.batch.forker'],
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      text=True,
      cwd=ROOT,
    )

  def ask(self, **question):
    self._process.stdin.write(json.dumps(question) + '\n')
    self._process.stdin.flush()
    return json.loads(self._process.stdout.readline())

  def start(self, path, output, *flags, pause_s=0.0, text='', **environ):
    self._count += 1
    told = self._folder / f'told-{self._count}'
    pid = self.ask(
      run=command(path, output, *flags), text=text, pause_s=pause_s,
      told=str(told), environ=environ,
    )  # fmt: skip
    return Process(self, pid, told)

  def run(self, *args, **kwargs):
    """(exit code, what it wrote) of a command."""
    process = self.start(*args, **kwargs)
    return process.wait(), process.told

  def __enter__(self):
    return self

  def __exit__(self, *unused):
    self._process.stdin.close()
    self._process.wait(timeout=30)
    self._process.stdout.close()


def made(output):
  """The bytes of what a finished run has made."""
  names = ('results.jsonl', 'errors.jsonl', 'manifest.json')
  return {name: (output / name).read_bytes() for name in names}


def ids(output):
  """(ids of results, ids of errors), in order."""
  return tuple(
    [
      json.loads(one)['custom_id']
      for one in (output / name).read_bytes().splitlines()
    ]
    for name in ('results.jsonl', 'errors.jsonl')
  )
