#!/usr/bin/env bash
# Installs, upgrades and removes the worker as a service of systemd; called by ./run install and ./run uninstall.
set -euo pipefail

SOURCE=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
PROGRAM=/opt/camunda-worker
SETTINGS=/etc/camunda-worker
SERVICE=camunda-worker
UNIT=/etc/systemd/system/$SERVICE.service
LOGIN=$UNIT.d/engine-login.conf
TOOL=/usr/local/bin/camunda-worker-tool
READY_SECONDS=60
FILES=(
  main.py camunda_worker.py response_handler.py rabbitmq_client.py config.py bridge tools docs
  requirements.lock requirements-tracing.lock config.env.example routing.example.toml camunda-worker.service
  README.md README.ru.md CHANGELOG.md LICENSE
)

usage() {
  cat <<'USAGE'
Usage: sudo ./run install [--start-anyway]      install the worker as a service, or upgrade the one that is there
       sudo ./run uninstall                     remove it; the settings in /etc/camunda-worker stay

What it needs it asks for; without a terminal it takes CAMUNDA_BASE_URL, RABBITMQ_HOST, RABBITMQ_USERNAME and
RABBITMQ_PASSWORD from the environment, and CAMUNDA_AUTH_USERNAME with CAMUNDA_AUTH_PASSWORD where the engine wants
a login. Settings that are there are kept. --start-anyway: start it though the diagnosis has found problems.
USAGE
}

say() { printf '%s\n' "install: $*" >&2; }

die() { say "$*"; exit 1; }

systemd_runs() { [[ -d /run/systemd/system ]]; }

is_active() { systemd_runs && systemctl is-active --quiet $SERVICE; }

# --- settings ----------------------------------------------------------------------------------------------------

missing=()

ask() { # NAME, QUESTION, DEFAULT: set the variable NAME, which the environment may have set
  local name=$1 question=$2 default=${3-} answer
  [[ -z ${!name-} ]] || return 0
  if [[ ! -t 0 ]]; then
    [[ $# -gt 2 ]] || missing+=("$name")
    answer=$default
  elif [[ $name == *PASSWORD ]]; then
    read -rsp "$question: " answer && printf '\n' >&2
  else
    read -rp "$question${default:+ [$default]}: " answer
  fi
  printf -v "$name" '%s' "${answer:-$default}"
}

quoted() { # VALUE as systemd and the tools read it in a file of settings
  [[ $1 != *[\'$'\n']* ]] || die "'$1' holds a quote or a line's end: write it into $SETTINGS/env by hand"
  if [[ $1 == *[[:space:]#\$\"\\]* ]]; then printf "'%s'" "$1"; else printf '%s' "$1"; fi
}

write_settings() {
  ask CAMUNDA_BASE_URL "URL of the engine's REST API"
  ask CAMUNDA_AUTH_USERNAME "user of the engine, empty where it wants no login" ""
  [[ -z $CAMUNDA_AUTH_USERNAME ]] || ask CAMUNDA_AUTH_PASSWORD "password of $CAMUNDA_AUTH_USERNAME"
  ask RABBITMQ_HOST "host of RabbitMQ" localhost
  ask RABBITMQ_USERNAME "user of RabbitMQ"
  ask RABBITMQ_PASSWORD "password of $RABBITMQ_USERNAME"
  [[ ${#missing[@]} -eq 0 ]] || die "there is no terminal to ask at: please set ${missing[*]}"
  local names=(CAMUNDA_BASE_URL RABBITMQ_HOST RABBITMQ_USERNAME)
  [[ -z $CAMUNDA_AUTH_USERNAME ]] || names+=(CAMUNDA_AUTH_USERNAME)
  [[ -z ${RABBITMQ_PORT-} ]] || names+=(RABBITMQ_PORT)
  [[ -z ${RABBITMQ_VIRTUAL_HOST-} ]] || names+=(RABBITMQ_VIRTUAL_HOST)
  mkdir -p "$SETTINGS"
  chmod 755 "$SETTINGS"  # the service may read what is not secret, such as a routing file
  write_secret env "$(filled_example "${names[@]}")"
  write_secret rabbitmq_password "$RABBITMQ_PASSWORD"
  [[ -z $CAMUNDA_AUTH_USERNAME ]] || write_secret camunda_password "$CAMUNDA_AUTH_PASSWORD"
  say "wrote $SETTINGS/env; every setting stands there with its default"
}

write_secret() { (umask 077 && printf '%s\n' "$2" >"$SETTINGS/$1"); } # FILE, TEXT: only root reads it

filled_example() { # NAMES of variables whose values take the place of the example's; the password stays out
  local line name
  while IFS= read -r line; do
    name=${line%%=*}
    name=${name#\#}
    if [[ $line == RABBITMQ_PASSWORD=* ]]; then
      printf '# The password is in %s/rabbitmq_password.\n' "$SETTINGS"
    elif [[ $line == *=* && " $* " == *" $name "* ]]; then
      printf '%s=%s\n' "$name" "$(quoted "${!name}")"
    else
      printf '%s\n' "$line"
    fi
  done <"$SOURCE/config.env.example"
}

setting_names() { sed -n 's/^#\{0,1\}\([A-Z][A-Z0-9_]*\)=.*/\1/p' "$1" | sort -u; } # FILE

show_new_settings() {
  local new
  new=$(comm -13 <(setting_names "$SETTINGS/env") <(setting_names "$SOURCE/config.env.example") | { grep -vx RABBITMQ_PASSWORD || true; } | xargs)
  [[ -z $new ]] || say "new settings, each explained in $PROGRAM/config.env.example: $new"
}

# --- the program -------------------------------------------------------------------------------------------------

build() { # FOLDER: the program with its own virtual environment
  rm -rf "$1"
  mkdir -p "$1"
  (cd "$SOURCE" && tar -c --exclude=__pycache__ "${FILES[@]}") | tar -x -C "$1" --no-same-owner
  install -m 755 "$SOURCE/packaging/camunda-worker-tool" "$1/camunda-worker-tool"
  name_tools_as_installed "$1"
  keep_routing_file "$1"
  say "installing the Python packages of requirements.lock"
  "$PYTHON" -m venv "$1/.venv"
  "$1/.venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-compile --require-hashes -r "$1/requirements.lock"
  "$1/.venv/bin/python" -m compileall -q "$1" || true  # the service may write nothing there
  chmod -R go=u-w "$1"
}

name_tools_as_installed() { # FOLDER: what page, log, tools and docs tell people to type works here, too
  grep -rlE 'python tools/[a-z_]+\.py' "$1" |
    xargs -d '\n' sed -i -E 's#python tools/([a-z_]+)\.py#sudo camunda-worker-tool \1#g'
}

keep_routing_file() { # FOLDER: a routing file that lies beside the program goes on lying there
  local file
  file=$(sed -n "s/^ROUTING_FILE=['\"]\{0,1\}\([^'\"]*\).*/\1/p" "$SETTINGS/env" | tail -n 1)
  file=${file#"$PROGRAM"/}
  if [[ -n $file && $file != /* && -f $PROGRAM/$file ]]; then install -D -m 644 "$PROGRAM/$file" "$1/$file"; fi
}

place_service_files() {
  install -m 644 "$PROGRAM/camunda-worker.service" "$UNIT"
  if [[ -f $SETTINGS/camunda_password ]]; then
    mkdir -p "${LOGIN%/*}"
    printf '%s\n' "[Service]" "LoadCredential=camunda_password:$SETTINGS/camunda_password" \
      "Environment=CAMUNDA_AUTH_PASSWORD_FILE=%d/camunda_password" >"$LOGIN"
  fi
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

# --- the service -------------------------------------------------------------------------------------------------

verify_unit() {
  if command -v systemd-analyze >/dev/null; then
    systemd-analyze verify "$UNIT" >&2 || die "systemd does not accept $UNIT"
    say "the unit is accepted by systemd"
  fi
}

diagnose() {
  say "a diagnosis before the start:"
  "$TOOL" worker_diagnostics --problems >&2
}

start_and_wait() { # succeeds once work flows
  local deadline=$((SECONDS + READY_SECONDS))
  systemctl daemon-reload
  systemctl enable --quiet $SERVICE
  systemctl restart --no-block $SERVICE
  while [[ $SECONDS -lt $deadline ]]; do
    if is_active; then return 0; fi
    if systemctl is-failed --quiet $SERVICE; then return 1; fi
    sleep 1
  done
  return 1
}

install_or_upgrade() {
  local was_active=no version
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

check_python() { # the service sees no home folder
  [[ $(readlink -f "$PYTHON") != /root/* && $(readlink -f "$PYTHON") != /home/* ]] ||
    die "$PYTHON lies in a home folder, which the service does not see; please install the distribution's python3"
}

start_first() { # VERSION, OPTION
  if ! diagnose && [[ $2 != --start-anyway ]]; then
    die "$1 is installed and not started: mend what the diagnosis has found and run this again, or add --start-anyway"
  fi
  if ! systemd_runs; then
    say "$1 is installed; systemd does not run here, so it is not started"
  elif start_and_wait; then
    say "$1 runs, and work flows; see systemctl status $SERVICE"
  else
    die "$1 is started and not ready after $READY_SECONDS s; systemctl status $SERVICE says why"
  fi
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
