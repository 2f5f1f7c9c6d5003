"""Starting and stopping: the port, the address, the signal."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import pytest

from chatjax.serve import server


def test_a_port_in_use_is_one_sentence():
  with server.listen('127.0.0.1', 0, is_guarded=False) as first:
    port = first.getsockname()[1]
    with pytest.raises(server.ServeError, match=f'127.0.0.1:{port} .*in use'):
      server.listen('127.0.0.1', port, is_guarded=False)


def test_a_bad_address_is_one_sentence():
  for host, port in (('192.0.2.1', 0), ('no.such.host.invalid', 80)):
    with pytest.raises(server.ServeError, match='Cannot listen on'):
      server.listen(host, port, is_guarded=True)
  for port in (-1, 65536, 70000, 2**40):
    with pytest.raises(server.ServeError, match='0 to 65535'):
      server.listen('127.0.0.1', port, is_guarded=True)


def test_others_need_a_key_or_a_flag():
  for host in ('0.0.0.0', '::', '', '192.168.1.5', 'example.com'):
    with pytest.raises(server.ServeError, match='--allow_public'):
      server.listen(host, 0, is_guarded=False)
  with server.listen('0.0.0.0', 0, is_guarded=True):
    pass
  for host in ('127.0.0.1', 'localhost', '127.0.0.2'):
    with server.listen(host, 0, is_guarded=False):
      pass


def test_names_of_a_loopback_server():
  usual = ('localhost', '127.0.0.1', '[::1]')
  assert server.allowed_hosts('127.0.0.1') == usual
  assert server.allowed_hosts('::1') == usual
  assert server.allowed_hosts('127.0.0.2') == (*usual, '127.0.0.2')
  assert server.allowed_hosts('0.0.0.0') is None
  assert server.allowed_hosts('192.168.1.5') is None


SERVE = """
import sys
from chatjax.chat import session
from chatjax.serve import server
from chatjax.testing import byte_tokenizer, fake_engine
server.run(
  session.Session(
    fake_engine.FakeEngine(fake_engine.text_script('x' * 40), pause_s=0.05),
    byte_tokenizer.ByteTokenizer(), byte_tokenizer.ByteChatFormat(),
    model_id='tiny', sampler_version=1),
  server.listen('127.0.0.2', int(sys.argv[1]), is_guarded=False))
"""


def test_sigterm_finishes_what_runs():
  with socket.socket() as probe:
    probe.bind(('127.0.0.2', 0))
    port = probe.getsockname()[1]
  process = subprocess.Popen(
    [sys.executable, '-c', SERVE, str(port)],
    stderr=subprocess.PIPE,
    text=True,
  )
  with contextlib.ExitStack() as stack:
    stack.enter_context(process.stderr)
    stack.callback(process.wait)
    stack.callback(process.kill)
    url = f'http://127.0.0.2:{port}'
    deadline_s = time.monotonic() + 20
    while True:
      try:
        urllib.request.urlopen(f'{url}/health').close()
        break
      except OSError:
        assert time.monotonic() < deadline_s
        time.sleep(0.05)
    question = urllib.request.Request(
      f'{url}/v1/chat/completions',
      b'{"model": "tiny", "stream": true, "user": "u7",'
      b' "messages": [{"role": "user", "content": "x"}]}',
      {'Content-Type': 'application/json'},
    )
    answer = stack.enter_context(urllib.request.urlopen(question))
    os.kill(process.pid, signal.SIGTERM)
    assert answer.read().endswith(b'data: [DONE]\n\n')
    assert process.wait(timeout=10) in (0, -signal.SIGTERM)
    assert "n=1 stream=True user='u7'" in process.stderr.read()
