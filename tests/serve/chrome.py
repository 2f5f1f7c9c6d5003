"""Headless Chromium on the DevTools protocol over pipes, for the chat page."""

import base64
import contextlib
import json
import os
import queue
import shutil
import subprocess
import threading
import time

PATH = shutil.which('chromium')
_FLAGS = (
  '--headless', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage',
  '--no-first-run', '--disable-background-networking', '--hide-scrollbars',
  '--disable-component-update', '--remote-debugging-pipe',
)  # fmt: skip
KEYS = {
  'Enter': ('Enter', 13, '\r'), 'Escape': ('Escape', 27, ''),
  'Tab': ('Tab', 9, ''), 'ArrowRight': ('ArrowRight', 39, ''),
  'End': ('End', 35, ''), 'v': ('KeyV', 86, ''),
}  # fmt: skip
CTRL, SHIFT = 2, 8


class Chrome:
  """A browser with a profile of its own.

  Attributes:
    events: (method, params) of everything that the tabs told.
  """

  def __init__(self, profile):
    # The browser reads from 3 and writes to 4.
    their_read, self._write = os.pipe()
    self._read, their_write = os.pipe()
    redirect = f'exec "$@" 3<&{their_read} 4>&{their_write}'
    self._process = subprocess.Popen(
      [
        *('bash', '-c', redirect, 'bash', PATH, *_FLAGS),
        *(f'--user-data-dir={profile}', 'about:blank'),
      ],
      pass_fds=(their_read, their_write),
      stdout=subprocess.DEVNULL,
      stderr=subprocess.DEVNULL,
    )
    os.close(their_read)
    os.close(their_write)
    self.events = []
    self._answers = {}
    self._last_id = 0
    self._reader = threading.Thread(target=self._listen, daemon=True)
    self._reader.start()

  def __enter__(self):
    return self

  def __exit__(self, *unused):
    with contextlib.suppress(OSError):
      self.call('Browser.close')
    self._process.wait(20)
    self._reader.join()
    os.close(self._write)
    os.close(self._read)

  def call(self, method, session=None, **params):
    self._last_id += 1
    answer = self._answers[self._last_id] = queue.Queue()
    told = {'id': self._last_id, 'method': method, 'params': params}
    if session:
      told['sessionId'] = session
    os.write(self._write, json.dumps(told).encode() + b'\0')
    got = answer.get(timeout=20)
    assert 'error' not in got, (method, got)
    return got.get('result', {})

  def _listen(self):
    rest = b''
    while data := os.read(self._read, 1 << 16):
      *whole, rest = (rest + data).split(b'\0')
      for text in whole:
        told = json.loads(text)
        if 'id' in told:
          self._answers.pop(told['id']).put(told)
        else:
          self.events.append((told['method'], told['params']))
    for answer in self._answers.values():
      answer.put({})

  def tab(self, url, *, width=1280, height=800, is_dark=False):
    target = self.call('Target.createTarget', url='about:blank')['targetId']
    session = self.call('Target.attachToTarget', targetId=target, flatten=True)[
      'sessionId'
    ]
    tab = Tab(self, session, target)
    for domain in ('Page', 'Runtime', 'Network', 'Log'):
      tab.call(f'{domain}.enable')
    tab.call(
      'Emulation.setDeviceMetricsOverride', width=width, height=height,
      deviceScaleFactor=1, mobile=width < 500,
    )  # fmt: skip
    tab.call(
      'Emulation.setEmulatedMedia',
      features=[
        {
          'name': 'prefers-color-scheme',
          'value': 'dark' if is_dark else 'light',
        }
      ],
    )
    tab.open(url)
    return tab


class Tab:
  """One page, used as a person would: keys, and a look at what is there."""

  def __init__(self, chrome, session, target):
    self._chrome = chrome
    self._session = session
    self._target = target

  def call(self, method, **params):
    return self._chrome.call(method, self._session, **params)

  def close(self):
    self._chrome.call('Target.closeTarget', targetId=self._target)

  def open(self, url):
    self.call('Page.navigate', url=url)
    self.wait(
      'location.href !== "about:blank" && document.readyState === "complete"'
      ' && document.getElementById("model")?.textContent'
    )

  def run(self, script):
    """The value of an expression, which may be a promise."""
    got = self.call(
      'Runtime.evaluate', expression=script, awaitPromise=True,
      returnByValue=True,
    )  # fmt: skip
    assert 'exceptionDetails' not in got, (script, got['exceptionDetails'])
    return got['result'].get('value')

  def wait(self, script, timeout_s=10.0):
    deadline_s = time.monotonic() + timeout_s
    while not self.run(f'Boolean({script})'):
      told = self.run('document.body?.innerText')
      assert time.monotonic() < deadline_s, f'never: {script}\n{told}'
      time.sleep(0.02)

  def text(self, selector):
    return self.run(f'document.querySelector({selector!r})?.innerText')

  def type(self, text):
    self.call('Input.insertText', text=text)

  def press(self, key, modifiers=0, commands=()):
    code, number, text = KEYS[key]
    params = {
      'key': key, 'code': code, 'windowsVirtualKeyCode': number,
      'modifiers': modifiers,
    }  # fmt: skip
    self.call(
      'Input.dispatchKeyEvent', type='keyDown', text=text,
      commands=list(commands), **params,
    )  # fmt: skip
    self.call('Input.dispatchKeyEvent', type='keyUp', **params)

  def focus(self, selector):
    self.run(f'document.querySelector({selector!r}).focus()')

  def fill(self, selector, text):
    self.focus(selector)
    self.run('document.activeElement.select()')
    self.type(text)

  def click(self, selector):
    """At the place where it is, so that what covers it would be hit."""
    for kind in ('mousePressed', 'mouseReleased'):
      self._mouse(kind, selector, button='left', clickCount=1)

  def hover(self, selector):
    self._mouse('mouseMoved', selector)

  def _mouse(self, kind, selector, **params):
    x, y = self.run(
      f'(() => {{const e = document.querySelector({selector!r});'
      'e.scrollIntoView({block: "nearest"}); const r = e.getClientRects()[0];'
      'return [r.x + r.width / 2, r.y + r.height / 2]})()'
    )
    self.call('Input.dispatchMouseEvent', type=kind, x=x, y=y, **params)

  def screenshot(self, path):
    data = self.call('Page.captureScreenshot', format='png')['data']
    path.write_bytes(base64.b64decode(data))
