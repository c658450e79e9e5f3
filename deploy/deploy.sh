#!/usr/bin/env bash
# tapewatch as a systemd service on Debian 11+, Ubuntu 20.04+: install, upgrade, rollback, uninstall.
#
#   deploy.sh install   [--wheel FILE] [--python PROGRAM | --python-source FILE] [--roles LIST]
#   deploy.sh upgrade   [--wheel FILE] [--python PROGRAM | --python-source FILE] [--ledger-saved]
#   deploy.sh rollback  [--restore]
#   deploy.sh uninstall [--purge]
#
# docs/deployment.md says what each does. It may be run again at any time: what is done already stays as it is.
# shellcheck disable=SC2046,SC2086  # units have no spaces in their names
[ -n "${BASH_VERSION:-}" ] || exec bash "$0" "$@"
set -euo pipefail

NAME=tapewatch
SOURCE=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
OPT=/opt/$NAME
ETC=/etc/$NAME
STATE=/var/lib/$NAME
LOGS=/var/log/$NAME
BACKUPS=/var/backups/$NAME
UNITS=/etc/systemd/system
CONFIG=$ETC/$NAME.yaml
KEEP=5 # backups
BUILD_NEEDS=(build-essential libbz2-dev libffi-dev liblzma-dev libreadline-dev libsqlite3-dev libssl-dev zlib1g-dev)

say() { printf '%s\n' "$*"; }
die() {
  printf 'deploy.sh: %s\n' "$*" >&2
  exit 1
}
# With the credentials that systemd would hand over, which nobody but root can read otherwise.
as_user() { (cd / && runuser -u "$NAME" -- env ${credentials:+"CREDENTIALS_DIRECTORY=$credentials"} "$@"); }
version_at() { basename "$(readlink -f "$OPT/$1")"; }

# --- Python -----------------------------------------------------------------------------------------------------------

# With venv, and with an SQLite whose statements can answer (RETURNING).
new_enough() {
  "$1" -c 'import sys, ensurepip, sqlite3, venv
sys.exit(sys.version_info < (3, 11) or sqlite3.sqlite_version_info < (3, 35))' >/dev/null 2>&1
}

known_python() {
  local one
  for one in "$OPT"/python/bin/python3.[0-9]* "$OPT"/python/*/bin/python3.[0-9]* python3.13 python3.12 python3.11 python3; do
    if new_enough "$one"; then
      command -v "$one"
      return
    fi
  done
  return 1
}

# Prints the program: the system's own where it is new enough, else what is given, a package, or one that uv fetches.
find_python() {
  local minor
  if [ -n "$python" ]; then
    new_enough "$python" || die "--python: $python is not Python 3.11 or newer with venv and SQLite 3.35 or newer"
    printf '%s\n' "$python"
    return
  fi
  known_python && return
  if [ -n "$python_source" ]; then
    given_python >&2
    known_python || die "--python-source: what came of $python_source is not Python 3.11 with SQLite 3.35 or newer;" \
      "a Python that was built elsewhere brings its own SQLite"
    return
  fi
  for minor in 13 12 11; do
    if apt-cache show "python3.$minor-venv" >/dev/null 2>&1; then
      apt-get install -y -qq "python3.$minor" "python3.$minor-venv" >&2
      known_python && return
    fi
  done
  say "no Python 3.11 or newer here, nor in the package sources: one is fetched" >&2
  fetch_python >&2 && known_python && return
  die "no Python 3.11 or newer could be fetched; give --python PROGRAM, or --python-source with the .tar of a Python" \
    "that was built elsewhere, or of the source of a release, which is then built"
}

# A whole Python with its own SQLite, by its checksum, as the version of uv that is pinned knows it.
fetch_python() {
  local folder=$scratch/uv
  python3 -m venv "$folder" 2>/dev/null || { apt-get install -y -qq python3-venv && python3 -m venv "$folder"; } || return
  "$folder/bin/pip" install -q --require-hashes -r "$SOURCE/requirements/uv.txt" || return
  install -d -m 0755 "$OPT" || return
  "$folder/bin/uv" --no-cache --no-config python install --no-bin --install-dir "$OPT/python" 3.11 || return
  chmod -R go+rX "$OPT/python"
}

given_python() {
  local folder=$scratch/python
  [ -r "$python_source" ] || die "--python-source: $python_source cannot be read"
  mkdir "$folder"
  tar -xf "$python_source" -C "$folder" --strip-components=1 || die "--python-source: $python_source is no .tar"
  install -d -m 0755 "$OPT"
  rm -rf "$OPT/python"
  if [ -x "$folder/configure" ]; then
    apt-get install -y -qq "${BUILD_NEEDS[@]}"
    (cd "$folder" && ./configure --prefix="$OPT/python" --enable-optimizations && make -j"$(nproc)" && make altinstall)
  else
    cp -R "$folder" "$OPT/python"
    chmod -R go+rX "$OPT/python"
  fi
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
  install -m 0644 "$SOURCE/deploy/systemd/$NAME.service" "$SOURCE/deploy/systemd/$NAME@.service" "$release"
  chmod -R go+rX "$release"
  touch "$release/.complete"
}

point() { # point LINK RELEASE
  ln -sfn "releases/$2" "$OPT/.$1"
  mv -T "$OPT/.$1" "$OPT/$1"
}

switch_to() {
  point current "$1"
  rm -f "$UNITS/$NAME.service" "$UNITS/$NAME@.service"
  install -m 0644 "$OPT"/current/$NAME*.service "$UNITS"
  systemctl daemon-reload
}

# Whether this release takes the configuration, and the ledger where there is one that can be looked at.
fits() {
  as_user "$OPT/releases/$1/bin/$NAME" check -c "$CONFIG" >/dev/null || return 1
  knows "$1"
}

# Whether a release knows the ledger's tables; of one that cannot say so, whether they are those of the backup yet.
knows() {
  local folder=$OPT/releases/$1/bin found
  if ! found=$(as_user "$folder/$NAME" db info -c "$CONFIG" --json 2>/dev/null); then
    [ -n "${2:-}" ] && found=$(as_user "$OPT/current/bin/$NAME" db info -c "$CONFIG" --json 2>/dev/null) || return 0
    "$OPT/current/bin/python" -c 'import json, sys
sys.exit(json.loads(sys.argv[1])["revision"] != json.load(open(sys.argv[2] + "/manifest.json"))["revision"])' "$found" "$2"
    return
  fi
  "$folder/python" -c 'import json, sys; one = json.load(sys.stdin)
sys.exit((one["revision"] or "") > one["newest"] and "its ledger is of a newer version")' <<<"$found"
}

# --- Units ------------------------------------------------------------------------------------------------------------

# What is enabled: the one service, or one for each role.
units() {
  local one
  for one in "$UNITS/multi-user.target.wants/$NAME".service "$UNITS/multi-user.target.wants/$NAME"@*.service; do
    [ ! -L "$one" ] || basename "$one" .service
  done
}

# What is enabled stays so unless roles are named.
enable_units() {
  local role wanted=("$NAME")
  [ -n "$roles" ] || [ -z "$(units)" ] || return 0
  if [ "${roles:-all}" != all ]; then
    wanted=()
    for role in ${roles//,/ }; do wanted+=("$NAME@$role"); done
  fi
  if [ -n "$(units)" ]; then
    stop_for_now
    running=${running:+${wanted[*]}}
    systemctl disable -q $(units)
  fi
  systemctl enable -q "${wanted[@]}"
}

check_roles() {
  local role
  for role in ${roles//,/ }; do
    case $role in
      scanner | positions | relay) ;;
      all) [ "$roles" = all ] || die "--roles: all is every role in one process; name it alone" ;;
      *) die "--roles: $role is none of scanner, positions, relay (parted by commas), all" ;;
    esac
  done
}

# Stopped until this script ends, however it does.
stop_for_now() {
  local one
  for one in $(units); do
    ! systemctl is-active -q "$one" || running+=" $one"
  done
  systemctl stop $(units)
}

# shellcheck disable=SC2317  # the trap calls it
leave() {
  [ -z "$running" ] || systemctl start --no-block $running
  rm -rf "$scratch"
}

# --- Backups ----------------------------------------------------------------------------------------------------------

# Prints the folder; nothing where there is no ledger yet.
save() {
  local program=$OPT/releases/$1/bin/$NAME said code=0
  install -d -m 0700 -o "$NAME" -g "$NAME" "$BACKUPS"
  as_user "$program" db info -c "$CONFIG" >"$scratch/info" 2>&1 || code=$?
  if [ "$code" = 2 ] || grep -q '^revision *no tables' "$scratch/info"; then return; fi
  said=$(as_user "$program" db backup --to "$BACKUPS" --keep "$KEEP" --with-secrets -c "$CONFIG") || return
  sed -n 's/^wrote \(.*\): [0-9].*/\1/p' <<<"$said"
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
  enable_units
  say "$NAME $version is installed. Edit $CONFIG, put secrets into $ETC/.env, then:"
  say "  runuser -u $NAME -- $NAME check -c $CONFIG --connect"
  say "  systemctl start --no-block" $(units)
}

upgrade() {
  local version from saved=''
  [ -e "$OPT/current" ] || die "$NAME is not installed; deploy.sh install does that"
  version=$(new_version) from=$(version_at current)
  [ -n "$version" ] || die "--wheel: $wheel is no wheel of $NAME"
  [ "$version" != "$from" ] || { say "$version is what runs already" && return; }
  build_release "$OPT/releases/$version"
  fits "$version" || die "$version does not take the configuration or the ledger as they are; $from runs on"
  if [ -z "$ledger_saved" ]; then
    within_reach "$version" || die "the ledger cannot be looked at, so it could not be saved; $from runs on." \
      "Save it in another way and say --ledger-saved"
  fi
  stop_for_now
  if [ -z "$ledger_saved" ]; then
    saved=$(save "$version") || die "the ledger could not be saved; $from stays"
  fi
  printf '%s\n' "$saved" >"$OPT/releases/$version/.saved"
  point previous "$from"
  switch_to "$version"
  find "$OPT/releases" -mindepth 1 -maxdepth 1 ! -name "$version" ! -name "$from" -exec rm -rf {} +
  say "$from is now $version. ${saved:+What was before is in $saved; }deploy.sh rollback goes back."
}

# A ledger that is not there yet is no trouble.
within_reach() {
  local code=0
  as_user "$OPT/releases/$1/bin/$NAME" db info -c "$CONFIG" >/dev/null || code=$?
  [ "$code" = 0 ] || [ "$code" = 2 ]
}

rollback() {
  local to from saved now
  [ -e "$OPT/previous" ] || die "there is no release to go back to"
  to=$(version_at previous) from=$(version_at current)
  saved=$(cat "$OPT/current/.saved" 2>/dev/null || true)
  [ -z "$restore" ] || [ -n "$saved" ] || die "--restore: the upgrade to $from saved no ledger"
  stop_for_now
  as_user "$OPT/releases/$to/bin/$NAME" check -c "$CONFIG" >/dev/null ||
    die "$to does not take the configuration as it is; $from stays"
  if [ -n "$restore" ]; then
    now=$(save "$from") || die "--restore: the ledger as it is now could not be saved; $from stays"
    as_user "$OPT/current/bin/$NAME" db restore "$saved" --replace --unmigrated -c "$CONFIG" >/dev/null ||
      die "--restore: $saved could not be restored; $from stays, with the ledger as it was"
    say "The ledger is that of $saved; ${now:+what was until now is in $now.}"
    say "What was alerted since may be alerted again, and positions are where they were then."
  fi
  knows "$to" "$saved" || die "$to does not take the ledger as it is; $from stays." \
    "--restore goes back to the ledger of before the upgrade"
  point previous "$from"
  switch_to "$to"
  say "$from is now $to again."
}

uninstall() {
  if [ ! -e "$OPT" ] && [ ! -e "$UNITS/$NAME.service" ] && [ -z "$purge" ]; then
    say "$NAME is not installed"
    return
  fi
  systemctl disable -q --now $(units) 2>/dev/null || true
  rm -f "$UNITS/$NAME.service" "$UNITS/$NAME@.service" "/usr/local/bin/$NAME"
  rm -rf "$OPT"
  systemctl daemon-reload
  if [ -z "$purge" ]; then
    say "$NAME is gone; $ETC, $STATE, $LOGS and $BACKUPS are kept. --purge removes them too."
    return
  fi
  rm -rf "$ETC" "$STATE" "$LOGS" "$BACKUPS" "$UNITS/$NAME.service.d" "$UNITS/$NAME"@*.service.d
  ! getent passwd "$NAME" >/dev/null || userdel "$NAME"
  say "$NAME is gone, with everything it had."
}

usage() {
  sed -n '2,9s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
  exit "$1"
}

misused() {
  printf 'deploy.sh: %s\n\n' "$*" >&2
  usage 2 >&2
}

# Read to its end before anything is done: an upgrade may bring another script in the place of this one.
main() {
  wheel='' python='' python_source='' ledger_saved='' restore='' purge='' roles=''
  command=${1:---help}
  shift || true
  case $command in
    install | upgrade | rollback | uninstall) ;;
    -h | --help | help) usage 0 ;;
    *) misused "there is no command $command" ;;
  esac
  while [ $# -gt 0 ]; do
    case "$command $1" in
      *" --wheel" | *" --python" | *" --python-source" | *" --roles") [ -n "${2:-}" ] || misused "$1 needs a value" ;;
    esac
    case "$command $1" in
      "install --wheel" | "upgrade --wheel") wheel=$2 && shift ;;
      "install --python" | "upgrade --python") python=$2 && shift ;;
      "install --python-source" | "upgrade --python-source") python_source=$2 && shift ;;
      "install --roles") roles=$2 && shift ;;
      "upgrade --ledger-saved") ledger_saved=yes ;;
      "rollback --restore") restore=yes ;;
      "uninstall --purge") purge=yes ;;
      *) misused "$command has no $1" ;;
    esac
    shift
  done
  [ "$(id -u)" = 0 ] || die "$command: only root can do that"
  for needed in systemctl runuser useradd flock; do
    command -v "$needed" >/dev/null || die "$needed is not here; this is for systems with systemd (docs/deployment.md)"
  done
  check_roles
  exec 9>"/run/$NAME-deploy.lock"
  flock -n 9 || die "another deploy.sh is at work"
  scratch=$(mktemp -d) running='' credentials=''
  trap leave EXIT
  if [ -d "$ETC/credentials" ] && getent passwd "$NAME" >/dev/null; then
    chmod 0711 "$scratch"
    credentials=$scratch/credentials
    install -d -m 0500 -o "$NAME" -g "$NAME" "$credentials"
    find "$ETC/credentials" -type f -exec install -m 0400 -o "$NAME" -g "$NAME" -t "$credentials" {} +
  fi
  case $command in
    install) install_it ;;
    upgrade) upgrade ;;
    rollback) rollback ;;
    uninstall) uninstall ;;
  esac
}

main "$@"
exit
