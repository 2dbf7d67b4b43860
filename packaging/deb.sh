#!/usr/bin/env bash
# Builds build/camunda-worker_VERSION_ARCHITECTURE.deb for the Debian or Ubuntu that runs here; called by ./run deb.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

export PYTHON=/usr/bin/python3 # the package depends on the distribution's own
PROGRAM=/usr/lib/camunda-worker
MAINTAINER="${DEBFULLNAME:-Universal Camunda Worker} <${DEBEMAIL:-noreply@example.com}>"
ROOT=$(mktemp -d)
trap 'rm -rf "$ROOT"' EXIT
umask 022
chmod 755 "$ROOT"

python_range() { "$PYTHON" -c 'import sys; x, y = sys.version_info[:2]; print(f"python3 (>= {x}.{y}), python3 (<< {x}.{y + 1})")'; }

place_files() {
  local documents=$ROOT/usr/share/doc/camunda-worker
  packaging/build.sh "$ROOT$PROGRAM" "$PROGRAM"
  find "$ROOT" -name __pycache__ -prune -exec rm -rf {} +
  find "$ROOT$PROGRAM/.venv/lib" -type f -exec chmod 644 {} +
  install -D -m 644 "$ROOT$PROGRAM/camunda-worker.service" -t "$ROOT/lib/systemd/system"
  mkdir -p "$ROOT/usr/bin" "$ROOT/usr/sbin"
  ln -s ../lib/camunda-worker/camunda-worker-tool "$ROOT/usr/bin"
  ln -s ../lib/camunda-worker/camunda-worker-setup "$ROOT/usr/sbin"
  install -D -m 644 LICENSE "$documents/copyright"
  install -D -m 644 packaging/lintian-overrides "$ROOT/usr/share/lintian/overrides/camunda-worker"
  mkdir -p "$ROOT/DEBIAN"
  install -m 755 packaging/debian/* "$ROOT/DEBIAN"
}

write_changelog() { # VERSION
  local changelog=$ROOT/usr/share/doc/camunda-worker/changelog.gz
  printf 'camunda-worker (%s) stable; urgency=medium\n\n  * See %s/CHANGELOG.md.\n\n -- %s  %s\n' \
    "$1" "$PROGRAM" "$MAINTAINER" "$(date -R -r CHANGELOG.md)" | gzip -9n >"$changelog"
}

write_control() { # VERSION, ARCHITECTURE
  cat >"$ROOT/DEBIAN/control" <<CONTROL
Package: camunda-worker
Version: $1
Architecture: $2
Maintainer: $MAINTAINER
Section: net
Priority: optional
Installed-Size: $(du -sk --exclude=DEBIAN "$ROOT" | cut -f 1)
Depends: $(python_range), libc6 (>= 2.28), ca-certificates
Suggests: rabbitmq-server
Description: external tasks of a Camunda 7 engine to RabbitMQ and back
 A daemon that fetches the external tasks of a Camunda 7 engine, publishes them
 to the RabbitMQ queues of the systems they are for, and carries the answers of
 those systems back. It brings the Python packages it needs.
CONTROL
  (cd "$ROOT" && find . -type f ! -path './DEBIAN/*' -printf '%P\0' | xargs -0 md5sum >DEBIAN/md5sums)
}

place_files
version=$("$ROOT$PROGRAM/.venv/bin/python" -B "$ROOT$PROGRAM/main.py" --version)
version=${version##* }
architecture=$(dpkg --print-architecture)
write_changelog "$version"
write_control "$version" "$architecture"
mkdir -p build
dpkg-deb --root-owner-group --build "$ROOT" "build/camunda-worker_${version}_$architecture.deb"
