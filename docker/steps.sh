#!/bin/sh
# How the image is made and used, one step a call: docker/steps.sh <step>. The Dockerfile and docker/prove.sh run the same.
# From the folder of the sources; pip takes its index from its own settings (PIP_INDEX_URL, pip.conf), as it always does.
set -eu
VENV=/opt/sceneleap
UID_OF_SERVICE=10001
PORT=${SCENELEAP_PORT:-8090}
export PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore

case "${1:-}" in
  system) # what Debian gives
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends ca-certificates python3 python3-venv
    rm -rf /var/lib/apt/lists/*
    ;;
  packages) # what PyPI gives, every file checked against its hash but torch's: its build is the one the index offers
    python3 -m venv $VENV
    $VENV/bin/pip install -q --require-hashes --no-deps -r docker/requirements.lock
    $VENV/bin/pip install -q "$(grep '^torch==' constraints.txt)" ${TORCH_INDEX_URL:+--index-url "$TORCH_INDEX_URL"}
    ;;
  project)
    $VENV/bin/pip install -q --no-deps --no-build-isolation .
    $VENV/bin/pip check
    ;;
  user) # the service owns nothing of what it runs
    useradd --uid $UID_OF_SERVICE --user-group --no-create-home --shell /usr/sbin/nologin sceneleap
    mkdir -p /models
    ;;
  serve) # $2: a shipped model's name, or a path below /models; further flags as they are
    shift
    export HOME=/tmp OMP_WAIT_POLICY=PASSIVE PYTHONDONTWRITEBYTECODE=1
    exec $VENV/bin/sceneleap serve "$@" --host 0.0.0.0 --port "$PORT" \
      --token-file "${SCENELEAP_TOKEN_FILE:-/run/secrets/sceneleap_token}"
    ;;
  ready) # the health check
    $VENV/bin/python -c "import urllib.request as r; r.urlopen('http://127.0.0.1:$PORT/readyz', timeout=5)"
    ;;
  *)
    echo "steps.sh: expected system, packages, project, user, serve or ready, got '${1:-}'." >&2
    exit 2
    ;;
esac
