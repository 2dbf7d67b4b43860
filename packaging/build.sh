#!/usr/bin/env bash
# Builds the program with a virtual environment of its own: what the installer, the Debian package and the image hold.
#   PYTHON=/usr/bin/python3 packaging/build.sh FOLDER PLACE [TOOL]
# FOLDER is made anew, PLACE is where it will lie; TOOL is how people call the tools there.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

FOLDER=$1
PLACE=$2
TOOL=${3:-sudo camunda-worker-tool}
FILES=(
  main.py camunda_worker.py response_handler.py rabbitmq_client.py config.py bridge tools docs
  requirements.lock requirements-tracing.lock config.env.example routing.example.toml camunda-worker.service
  README.md README.ru.md CHANGELOG.md LICENSE
)
umask 022

rm -rf "$FOLDER"
mkdir -p "$FOLDER"
tar -c --exclude=__pycache__ "${FILES[@]}" | tar -x -C "$FOLDER" --no-same-owner
install -m 644 packaging/service.sh -t "$FOLDER"
install -m 755 packaging/camunda-worker-tool packaging/camunda-worker-setup -t "$FOLDER"
sed -i "s#/opt/camunda-worker#$PLACE#g" "$FOLDER"/{camunda-worker-tool,camunda-worker.service,service.sh}
# What page, log, tools and docs tell people to type works here, too.
grep -rlE 'python tools/[a-z_]+\.py' "$FOLDER" | xargs -d '\n' sed -i -E "s#python tools/([a-z_]+)\.py#$TOOL \1#g"
printf '%s: installing the Python packages of requirements.lock\n' build >&2
"$PYTHON" -m venv "$FOLDER/.venv"
"$FOLDER/.venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-compile --require-hashes \
  -r "$FOLDER/requirements.lock"
find "$FOLDER/.venv/bin" -type f -delete  # scripts that name the place where they were built
chmod -R go=u-w "$FOLDER"
