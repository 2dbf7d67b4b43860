#!/usr/bin/env bash
# Installs, upgrades and removes the worker as a service of systemd; called by ./run install and ./run uninstall.
set -euo pipefail

SOURCE=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source-path=SCRIPTDIR source=service.sh
. "$SOURCE/packaging/service.sh"
EXAMPLE=$SOURCE/config.env.example
UNIT=/etc/systemd/system/$SERVICE.service
TOOL=/usr/local/bin/camunda-worker-tool
umask 022

usage() {
  cat <<'USAGE'
Usage: sudo ./run install [--start-anyway]      install the worker as a service, or upgrade the one that is installed
       sudo ./run uninstall                     remove it; the settings in /etc/camunda-worker stay

What it needs it asks for; without a terminal it takes CAMUNDA_BASE_URL, RABBITMQ_HOST, RABBITMQ_USERNAME and
RABBITMQ_PASSWORD from the environment, and CAMUNDA_AUTH_USERNAME with CAMUNDA_AUTH_PASSWORD where the engine wants
a login. Settings that are there are kept. --start-anyway: start it though the diagnosis has found problems.
USAGE
}

# --- the program -------------------------------------------------------------------------------------------------

build() { # FOLDER
  "$SOURCE/packaging/build.sh" "$1" "$PROGRAM"
  keep_routing_file "$1"
  keep_tracing "$1"
  "$1/.venv/bin/python" -m compileall -q "$1" || true  # the service may write nothing there
}

keep_routing_file() { # FOLDER: a routing file that lies beside the program goes on lying there
  local file
  file=$(sed -n "s/^ROUTING_FILE=['\"]\{0,1\}\([^'\"]*\).*/\1/p" "$SETTINGS/env" | tail -n 1)
  file=${file#"$PROGRAM"/}
  if [[ -n $file && $file != /* && -f $PROGRAM/$file ]]; then install -D -m 644 "$PROGRAM/$file" "$1/$file"; fi
}

keep_tracing() { # FOLDER: what was added for traces stays, or the service would end where its settings ask for them
  compgen -G "$PROGRAM/.venv/lib/python*/site-packages/opentelemetry/sdk" >/dev/null || return 0
  "$1/.venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-compile --require-hashes \
    -r "$1/requirements-tracing.lock"
}

place_service_files() {
  install -m 644 "$PROGRAM/camunda-worker.service" "$UNIT"
  place_login
  ln -sfn $PROGRAM/camunda-worker-tool $TOOL
}

swap_in() { # the new version takes the place of the present one, which is kept beside it
  rm -rf "$PROGRAM.previous"
  [[ ! -e $PROGRAM ]] || mv "$PROGRAM" "$PROGRAM.previous"
  mv "$PROGRAM.new" "$PROGRAM"
  place_service_files
}

swap_back() {
  rm -rf "$PROGRAM.new"
  mv "$PROGRAM" "$PROGRAM.new"
  mv "$PROGRAM.previous" "$PROGRAM"
  place_service_files
}

restore_when_cut_off() {
  if [[ ! -e $PROGRAM && -e $PROGRAM.previous ]]; then mv "$PROGRAM.previous" "$PROGRAM"; fi
}

install_or_upgrade() {
  local was_active=no version
  check_package
  check_python
  [[ -f $SETTINGS/env ]] || write_settings
  ! is_active || was_active=yes
  trap restore_when_cut_off EXIT
  build "$PROGRAM.new"
  version=$("$PROGRAM.new/.venv/bin/python" "$PROGRAM.new/main.py" --version)
  [[ ! -e $PROGRAM ]] || show_new_settings
  [[ $was_active == no ]] || systemctl stop $SERVICE
  swap_in
  verify_unit
  if [[ $was_active == yes ]]; then
    start_or_roll_back "$version"
  else
    start_first "$version" "${1-}"
  fi
  rm -rf "$PROGRAM.previous"
}

check_package() {
  [[ ! -e /usr/lib/camunda-worker ]] ||
    die "the Debian package camunda-worker is installed; please remove it first (apt remove camunda-worker), the settings stay"
}

check_python() { # the service sees no home folder
  local place
  place=$(readlink -f "$(command -v "$PYTHON")")
  [[ $place != /root/* && $place != /home/* ]] ||
    die "$place lies in a home folder, which the service does not see; please install the distribution's python3"
}

start_or_roll_back() { # VERSION
  if start_and_wait; then
    say "$1 runs, and work flows; see systemctl status $SERVICE"
    return
  fi
  systemctl status --no-pager $SERVICE >&2 || true
  systemctl stop $SERVICE
  swap_back
  start_and_wait || die "$1 was not ready within $READY_SECONDS s; the version before is back, and is not ready either"
  die "$1 was not ready within $READY_SECONDS s; the version before runs again, the new one is in $PROGRAM.new"
}

uninstall() {
  if systemd_runs; then systemctl disable --quiet --now $SERVICE 2>/dev/null || true; fi
  rm -rf "$PROGRAM" "$PROGRAM.new" "$PROGRAM.previous" "$UNIT" "$UNIT.d" "$TOOL" \
    /var/log/camunda-worker /var/log/private/camunda-worker
  if systemd_runs; then systemctl daemon-reload; fi
  say "removed; the settings stay in $SETTINGS"
}

# -----------------------------------------------------------------------------------------------------------------

command=${1-}
shift || true
case $command:${1-} in
  install: | install:--start-anyway | uninstall:) ;;
  *:-h | *:--help) usage; exit 0 ;;
  *) usage >&2; exit 2 ;;
esac
[[ $EUID -eq 0 ]] || die "only root may do that: sudo ./run $command"
case $command in
  install) install_or_upgrade "$@" ;;
  uninstall) uninstall ;;
esac
