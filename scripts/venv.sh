# Sourced by the other scripts: makes a virtual environment once.
#
#   make_venv EXTRAS    installs chatjax[EXTRAS] with the pinned versions into
#                       $CHATJAX_VENV (default: .venv) and sets $BIN

make_venv() {
  local extras=$1 venv=${CHATJAX_VENV:-.venv} python='' candidate wanted stamp
  local unfinished=$venv/.chatjax-unfinished
  for candidate in python3 python3.13 python3.12 python3.11; do
    if command -v "$candidate" >/dev/null && "$candidate" -c \
        'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      python=$candidate
      break
    fi
  done
  if [ -z "$python" ]; then
    echo 'chatjax needs Python 3.11 or newer; none is on the PATH.' >&2
    exit 1
  fi
  wanted=$(cat setup.cfg setup.py pyproject.toml constraints.txt \
    chatjax/native/*.cc chatjax/native/*.h | cksum)
  stamp="$venv/.chatjax-installed-${extras:-base}"
  BIN=$venv/bin
  if [ -x "$BIN/chatjax" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ]
  then
    return
  fi
  echo "Installing into $venv (once) ..." >&2
  # Killed half-way the last time. The mark stands only in folders made here.
  [ ! -e "$unfinished" ] || rm -rf "$venv"
  [ -e "$venv" ] || { mkdir -p "$venv" && : >"$unfinished"; }
  "$BIN/python" -m pip --version >/dev/null 2>&1 || "$python" -m venv "$venv" || {
    echo "Could not make a virtual environment in $venv." >&2
    exit 1
  }
  "$BIN/python" -m pip install --quiet --disable-pip-version-check \
    --constraint constraints.txt --editable ".${extras:+[$extras]}" || {
    echo 'Could not install; is a package registry within reach?' >&2
    exit 1
  }
  rm -f "$unfinished"
  echo "$wanted" >"$stamp"
}
