"""Connections between processes: order, silence, strangers, farewells."""

import contextlib
import socket
import threading
import time

import pytest

from chatjax.engine import group as group_lib


@pytest.fixture(name='ends')
def _ends(monkeypatch):
  """What processes said as they ended."""
  said = []
  ended = threading.Event()

  def end(error):
    said.append(str(error))
    ended.set()
    threading.Event().wait()  # a process that ended does nothing more

  monkeypatch.setattr(group_lib, '_end', end)
  monkeypatch.setattr(group_lib, 'GRACE_S', 0.0)
  monkeypatch.setattr(group_lib, 'BEAT_S', 0.05)
  monkeypatch.setattr(group_lib, 'SILENCE_S', 0.4)
  said_by = lambda seconds: said if ended.wait(seconds) else []
  return said_by


@pytest.fixture(name='pair')
def _pair():
  with socket.create_server(('127.0.0.1', 0)) as server:
    one = socket.create_connection(server.getsockname())
    other, _ = server.accept()
  yield one, other
  one.close()
  other.close()


def test_followers_read_what_is_published_in_order(pair, ends):
  leader = group_lib.Leader([group_lib.Link(pair[0], 'Process 1')])
  follower = group_lib.Follower(group_lib.Link(pair[1], 'The leader'))
  losses = []
  leader.watch(losses.append)
  wanted = [bytes([i]) * (1 + 5000 * (i % 2)) for i in range(30)]
  for message in wanted[:15]:
    leader.publish(message)
  read = []

  def follow():
    for message in follower.messages():
      read.append(message)
    follower.close()

  following = threading.Thread(target=follow)
  following.start()
  # Longer than the silence that is allowed: beats go on.
  time.sleep(2 * group_lib.SILENCE_S)
  for message in wanted[15:]:
    leader.publish(message)
  leader.close()
  following.join(5)
  assert read == wanted
  assert not losses
  assert not ends(0)


def test_a_closed_connection_is_a_loss(pair, ends):
  leader = group_lib.Leader([group_lib.Link(pair[0], 'Process 1')])
  losses = []
  leader.watch(losses.append)
  pair[1].close()
  (said,) = ends(5)
  assert said.startswith('Process 1 closed its connection')
  assert [str(loss) for loss in losses] == [said]


def test_silence_is_a_loss(pair, ends):
  leader = group_lib.Leader([group_lib.Link(pair[0], 'Process 1')])
  leader.watch(lambda error: None)
  (said,) = ends(5)  # the other end neither beats nor closes
  assert said.startswith('Process 1 was silent for 0.4 s')


def test_a_follower_ends_with_its_leader(pair, ends):
  follower = group_lib.Follower(group_lib.Link(pair[1], 'The leader'))
  pair[0].close()
  (said,) = ends(5)
  assert said.startswith('The leading process closed its connection')
  follower.close()


def test_strangers_are_turned_away(monkeypatch, ends):
  monkeypatch.setattr(group_lib.jax, 'process_count', lambda: 2)
  monkeypatch.setattr(group_lib.jax, 'process_index', lambda: 1)
  token = bytes(range(32))
  with socket.create_server(('127.0.0.1', 0)) as server:
    address = server.getsockname()
    links = []
    waiting = threading.Thread(
      target=lambda: links.extend(group_lib._wait_for_all(server, token))
    )
    waiting.start()
    for told in (b'GET / HTTP/1.0\r\n\r\n' + bytes(40), bytes(36), b'short'):
      with socket.create_connection(address) as stranger:
        stranger.sendall(told)
        stranger.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionResetError):
          assert stranger.recv(1) == b''
    invitation = {
        'hosts': ['127.0.0.1'], 'port': address[1], 'token': token.hex(),
    }  # fmt: skip
    follower = group_lib._accept(invitation)
    waiting.join(5)
  assert [link.name for link in links] == ['Process 1']
  links[0].put(group_lib._BYE)
  assert list(follower.messages()) == []
  for end in (follower, *links):
    end.close()
  assert list(links[0].messages()) == []
  assert not ends(0)


def test_a_leader_out_of_reach_is_named(monkeypatch):
  monkeypatch.setattr(group_lib.jax, 'process_index', lambda: 3)
  with socket.create_server(('127.0.0.1', 0)) as server:
    port = server.getsockname()[1]
  invitation = {'hosts': ['127.0.0.1'], 'port': port, 'token': '00'}
  with pytest.raises(group_lib.GroupError, match='Process 3 cannot reach'):
    group_lib._accept(invitation)
