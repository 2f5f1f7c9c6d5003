"""Starting: the port, the address, its names."""

import socket

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


def test_others_need_a_key_or_a_flag(monkeypatch):
  monkeypatch.setattr(socket, 'getaddrinfo', resolve)
  for host in ('0.0.0.0', '::', '', '192.168.1.5', 'public.example'):
    with pytest.raises(server.ServeError, match='--allow_public'):
      server.listen(host, 0, is_guarded=False)
  with server.listen('0.0.0.0', 0, is_guarded=True):
    pass
  for host in ('127.0.0.1', 'localhost', '127.0.0.2', 'local.example'):
    with server.listen(host, 0, is_guarded=False):
      pass


_resolve = socket.getaddrinfo


def resolve(host, *args, **more):
  """As a name server that knows two names more."""
  known = {'local.example': '127.0.0.3', 'public.example': '192.0.2.7'}
  return _resolve(known.get(host, host), *args, **more)


def test_names_of_a_loopback_server():
  usual = ('localhost', '127.0.0.1', '[::1]')
  assert server.allowed_hosts('127.0.0.1') == usual
  assert server.allowed_hosts('::1') == usual
  assert server.allowed_hosts('127.0.0.2') == (*usual, '127.0.0.2')
  assert server.allowed_hosts('127.0.0.1', 'mine') == (*usual, 'mine')
  assert server.allowed_hosts('127.0.0.1', 'localhost') == usual
  assert server.allowed_hosts('::1', '::1') == usual
  assert server.allowed_hosts('0.0.0.0', '0.0.0.0') is None
  assert server.allowed_hosts('0.0.0.0') is None
  assert server.allowed_hosts('192.168.1.5') is None


def test_loopback_hosts():
  for host in ('localhost', '127.0.0.1', '127.9.9.9', '::1'):
    assert server.is_loopback(host)
  for host in ('0.0.0.0', '::', '192.168.1.5', 'local.example', ''):
    assert not server.is_loopback(host)
