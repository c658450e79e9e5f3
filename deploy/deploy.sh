#!/usr/bin/env bash
# tapewatch as a systemd service on Debian 11+, Ubuntu 20.04+: install, upgrade, rollback, uninstall.
#
#   deploy.sh install   [--wheel FILE] [--python PROGRAM | --python-source FILE]
#   deploy.sh upgrade   [--wheel FILE] [--python PROGRAM | --python-source FILE] [--ledger-saved]
#   deploy.sh rollback  [--restore]
#   deploy.sh uninstall [--purge]
#
# docs/deployment.md says what each does. It may be run again at any time: what is done already stays as it is.
set -euo pipefail

NAME=tapewatch
SOURCE=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
OPT=/opt/$NAME
ETC=/etc/$NAME
STATE=/var/lib/$NAME
LOGS=/var/log/$NAME
BACKUPS=/var/backups/$NAME
UNIT=/etc/systemd/system/$NAME.service
CONFIG=$ETC/$NAME.yaml
KEEP=5 # backups
BUILD_NEEDS=(build-essential libbz2-dev libffi-dev liblzma-dev libreadline-dev libsqlite3-dev libssl-dev zlib1g-dev)

say() { printf '%s\n' "$*"; }
die() {
  printf 'deploy.sh: %s\n' "$*" >&2
  exit 1
}
as_user() { (cd / && runuser -u "$NAME" -- "$@"); }
version_at() { basename "$(readlink -f "$OPT/$1")"; }

# --- Python -----------------------------------------------------------------------------------------------------------

new_enough() { "$1" -c 'import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }

known_python() {
  local one
  for one in "$OPT"/python/bin/python3.[0-9]* python3.13 python3.12 python3.11 python3; do
    if new_enough "$one"; then
      command -v "$one"
      return
    fi
  done
  return 1
}

# Prints the program; the system's own where it is new enough, else a package, else one built from its source.
find_python() {
  local minor
  if [ -n "$python" ]; then
    new_enough "$python" || die "--python: $python is not Python 3.11 or newer with venv"
    printf '%s\n' "$python"
    return
  fi
  known_python && return
  for minor in 13 12 11; do
    if apt-cache show "python3.$minor-venv" >/dev/null 2>&1; then
      apt-get install -y -qq "python3.$minor" "python3.$minor-venv" >&2
      known_python && return
    fi
  done
  [ -n "$python_source" ] || die "no Python 3.11 or newer here, nor in the package sources;" \
    "give --python PROGRAM, or --python-source with the .tar of a release of Python, which is then built"
  build_python >&2
  known_python || die "--python-source: what was built from $python_source does not work"
}

build_python() {
  local folder
  [ -r "$python_source" ] || die "--python-source: $python_source cannot be read"
  apt-get install -y -qq "${BUILD_NEEDS[@]}"
  folder=$(mktemp -d)
  tar -xf "$python_source" -C "$folder" --strip-components=1
  (cd "$folder" && ./configure --prefix="$OPT/python" --enable-optimizations && make -j"$(nproc)" && make altinstall)
  rm -rf "$folder"
}

# --- Releases ---------------------------------------------------------------------------------------------------------

new_version() {
  if [ -n "$wheel" ]; then
    [ -r "$wheel" ] || die "--wheel: $wheel cannot be read"
    basename "$wheel" | sed -n "s/^$NAME-\([^-]*\)-.*\.whl\$/\1/p"
  else
    sed -n 's/^version = "\(.*\)"$/\1/p' "$SOURCE/pyproject.toml"
  fi
}

# A release is whole or it is made anew: a virtual environment of what is pinned and tapewatch, and its unit.
build_release() {
  local release=$1 folder program
  [ ! -e "$release/.complete" ] || return 0
  program=$(find_python)
  rm -rf "$release"
  install -d -m 0755 "$OPT" "$OPT/releases"
  "$program" -m venv "$release"
  for pins in build runtime service; do
    "$release/bin/pip" install -q --require-hashes -r "$SOURCE/requirements/$pins.txt"
  done
  if [ -n "$wheel" ]; then
    "$release/bin/pip" install -q --no-deps "$wheel"
  else
    folder=$(mktemp -d)
    cp -R "$SOURCE/src" "$SOURCE/pyproject.toml" "$SOURCE/README.md" "$SOURCE/LICENSE" "$folder"
    "$release/bin/pip" install -q --no-deps --no-build-isolation "$folder"
    rm -rf "$folder"
  fi
  install -m 0644 "$SOURCE/deploy/systemd/$NAME.service" "$release/$NAME.service"
  chmod -R go+rX "$release"
  touch "$release/.complete"
}

point() { # point LINK RELEASE
  ln -sfn "releases/$2" "$OPT/.$1"
  mv -T "$OPT/.$1" "$OPT/$1"
}

switch_to() {
  point current "$1"
  install -m 0644 "$OPT/current/$NAME.service" "$UNIT"
  systemctl daemon-reload
}

# Whether this release takes the configuration, and the ledger where there is one that can be looked at.
fits() {
  local folder=$OPT/releases/$1/bin found
  as_user "$folder/$NAME" check -c "$CONFIG" >/dev/null || return 1
  found=$(as_user "$folder/$NAME" db info -c "$CONFIG" --json 2>/dev/null) || return 0
  "$folder/python" -c 'import json, sys; one = json.load(sys.stdin)
sys.exit((one["revision"] or "") > one["newest"] and "its ledger is of a newer version")' <<<"$found"
}

# Stopped until this script ends, however it does.
stop_for_now() {
  ! systemctl is-active -q "$NAME" || trap 'systemctl start --no-block "$NAME"' EXIT
  systemctl stop "$NAME"
}

# --- Backups ----------------------------------------------------------------------------------------------------------

in_postgres() { as_user "$OPT/current/bin/$NAME" check -c "$CONFIG" | grep -q '^ok *ledger *postgresql:'; }

# Prints the file: configuration, ledger and journal as they are while nothing runs. The archive of candles stays.
save() {
  local file
  file=$BACKUPS/$(version_at current)-$(date -u +%Y%m%dT%H%M%S%N).tar.gz
  install -d -m 0700 "$BACKUPS"
  (umask 077 && tar -C / -czf "$file.part" --exclude="*.archive" "${ETC#/}" "${STATE#/}")
  mv "$file.part" "$file"
  find "$BACKUPS" -name '*.tar.gz' -printf '%T@ %p\n' | sort -rn | tail -n +$((KEEP + 1)) | cut -d' ' -f2- | xargs -r rm
  printf '%s\n' "$file"
}

restore() {
  local file=$1
  tar -tzf "$file" >/dev/null || die "$file is damaged; nothing was changed"
  find "$STATE" -mindepth 1 -maxdepth 1 ! -name '*.archive' -exec rm -rf {} +
  tar -C / -xzpf "$file" "${STATE#/}"
}

# --- Commands ---------------------------------------------------------------------------------------------------------

make_place() {
  getent passwd "$NAME" >/dev/null ||
    useradd --system --user-group --home-dir "$STATE" --no-create-home --shell /usr/sbin/nologin "$NAME"
  install -d -m 0750 -o root -g "$NAME" "$ETC"
  install -d -m 0700 -o "$NAME" -g "$NAME" "$STATE"
  install -d -m 0750 -o "$NAME" -g "$NAME" "$LOGS"
  [ -e "$CONFIG" ] || install -m 0600 "$SOURCE/deploy/config/$NAME.yaml" "$CONFIG"
  [ -e "$ETC/.env" ] || install -m 0600 /dev/null "$ETC/.env"
  chown "$NAME:$NAME" "$CONFIG" "$ETC/.env"
  chmod 0600 "$CONFIG" "$ETC/.env"
}

install_it() {
  local version
  version=$(new_version)
  [ -n "$version" ] || die "--wheel: $wheel is no wheel of $NAME"
  if [ -e "$OPT/current" ] && [ "$(version_at current)" != "$version" ]; then
    die "$(version_at current) is installed; deploy.sh upgrade brings $version"
  fi
  build_release "$OPT/releases/$version"
  make_place
  switch_to "$version"
  ln -sfn "$OPT/current/bin/$NAME" "/usr/local/bin/$NAME"
  systemctl enable -q "$NAME"
  say "$NAME $version is installed. Edit $CONFIG, put secrets into $ETC/.env, then:"
  say "  runuser -u $NAME -- $NAME check -c $CONFIG --connect"
  say "  systemctl start --no-block $NAME"
}

upgrade() {
  local version from saved
  [ -e "$OPT/current" ] || die "$NAME is not installed; deploy.sh install does that"
  version=$(new_version) from=$(version_at current)
  [ -n "$version" ] || die "--wheel: $wheel is no wheel of $NAME"
  [ "$version" != "$from" ] || { say "$version is what runs already" && return; }
  if [ -z "$ledger_saved" ] && in_postgres; then
    die "the ledger is in PostgreSQL: save it with tapewatch db backup or pg_dump, then say --ledger-saved"
  fi
  build_release "$OPT/releases/$version"
  fits "$version" || die "$version does not take the configuration or the ledger as they are; $from runs on"
  stop_for_now
  saved=$(save)
  printf '%s\n' "$saved" >"$OPT/releases/$version/.saved"
  point previous "$from"
  switch_to "$version"
  find "$OPT/releases" -mindepth 1 -maxdepth 1 ! -name "$version" ! -name "$from" -exec rm -rf {} +
  say "$from is now $version. What was before is in $saved; deploy.sh rollback goes back."
}

rollback() {
  local to from saved now
  [ -e "$OPT/previous" ] || die "there is no release to go back to"
  to=$(version_at previous) from=$(version_at current)
  saved=$(cat "$OPT/current/.saved" 2>/dev/null || true)
  if [ -n "$restore" ]; then
    [ -r "$saved" ] || die "--restore: there is no backup of the upgrade to $from"
  fi
  stop_for_now
  if [ -n "$restore" ]; then
    now=$(save)
    restore "$saved"
    say "The ledger is that of $saved; what was until now is in $now."
  fi
  if ! fits "$to"; then
      die "$to does not take the configuration or the ledger as they are; $from stays." \
      "--restore goes back to the ledger of before the upgrade"
  fi
  point previous "$from"
  switch_to "$to"
  say "$from is now $to again."
}

uninstall() {
  systemctl disable -q --now "$NAME" 2>/dev/null || true
  rm -f "$UNIT" "/usr/local/bin/$NAME"
  rm -rf "$OPT"
  systemctl daemon-reload
  if [ -z "$purge" ]; then
    say "$NAME is gone; $ETC, $STATE, $LOGS and $BACKUPS are kept. --purge removes them too."
    return
  fi
  rm -rf "$ETC" "$STATE" "$LOGS" "$BACKUPS" "$UNIT.d"
  ! getent passwd "$NAME" >/dev/null || userdel "$NAME"
  say "$NAME is gone, with everything it had."
}

usage() {
  sed -n '2,9s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
  exit "$1"
}

wheel='' python='' python_source='' ledger_saved='' restore='' purge=''
command=${1:---help}
shift || true
while [ $# -gt 0 ]; do
  case "$command $1" in
    "install --wheel" | "upgrade --wheel") wheel=${2:?$1 needs a file} && shift ;;
    "install --python" | "upgrade --python") python=${2:?$1 needs a program} && shift ;;
    "install --python-source" | "upgrade --python-source") python_source=${2:?$1 needs a file} && shift ;;
    "upgrade --ledger-saved") ledger_saved=yes ;;
    "rollback --restore") restore=yes ;;
    "uninstall --purge") purge=yes ;;
    *) usage 2 >&2 ;;
  esac
  shift
done
case $command in
  install | upgrade | rollback | uninstall) [ "$(id -u)" = 0 ] || die "$command: only root can do that" ;;
  -h | --help | help) usage 0 ;;
  *) usage 2 >&2 ;;
esac
case $command in install) install_it ;; *) "$command" ;; esac
