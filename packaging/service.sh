# Functions of whatever puts the worker's service in place: its settings, a diagnosis, the start. Sourced by bash.
# shellcheck shell=bash

PROGRAM=/opt/camunda-worker
SETTINGS=/etc/camunda-worker
SERVICE=camunda-worker
LOGIN=/etc/systemd/system/$SERVICE.service.d/engine-login.conf
READY_SECONDS=60
EXAMPLE=$PROGRAM/config.env.example

say() { printf '%s\n' "$(basename "$0" .sh): $*" >&2; }

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
  done <"$EXAMPLE"
}

setting_names() { sed -n 's/^#\{0,1\}\([A-Z][A-Z0-9_]*\)=.*/\1/p' "$1" | sort -u; } # FILE

show_new_settings() {
  local new
  new=$(comm -13 <(setting_names "$SETTINGS/env") <(setting_names "$EXAMPLE") | { grep -vx RABBITMQ_PASSWORD || true; } | xargs)
  [[ -z $new ]] || say "new settings, each explained in $PROGRAM/config.env.example: $new"
}

place_login() { # the engine's login, where it wants one, as a credential of the service
  [[ -f $SETTINGS/camunda_password ]] || return 0
  mkdir -p "${LOGIN%/*}"
  printf '%s\n' "[Service]" "LoadCredential=camunda_password:$SETTINGS/camunda_password" \
    "Environment=CAMUNDA_AUTH_PASSWORD_FILE=%d/camunda_password" >"$LOGIN"
}

# --- the service -------------------------------------------------------------------------------------------------

verify_unit() { # UNIT is the file: a name would be taken for one in the present folder
  if command -v systemd-analyze >/dev/null; then
    systemd-analyze verify "$UNIT" >&2 || die "systemd does not accept $UNIT"
    say "the unit is accepted by systemd"
  fi
}

diagnose() {
  say "a diagnosis before the start:"
  "$PROGRAM/camunda-worker-tool" worker_diagnostics --problems >&2
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

start_first() { # VERSION, OPTION
  if ! diagnose && [[ $2 != --start-anyway ]]; then
    die "$1 is installed and not started: mend what the diagnosis has found and run this again, or add --start-anyway"
  fi
  if ! systemd_runs; then
    say "$1 is installed; systemd does not run here, so it is not started"
  elif start_and_wait; then
    say "$1 runs, and work flows; see systemctl status $SERVICE"
  else
    die "$1 was not ready within $READY_SECONDS s; systemctl status $SERVICE says why"
  fi
}
