#!/usr/bin/env bash
# Tries compose.yaml without Docker: builds the image, starts its services in order, asks each for what it is there for,
# restarts them while cases come in, and stops them all. Prints what it saw; ends with 0 if all of it went well.
#
#   deploy/try_compose.sh [FOLDER]      images stay in FOLDER for the next time (/var/tmp/litgo-compose)
#
# As root on Debian 12, with: apt-get install --no-install-recommends podman buildah runc mmdebstrap netavark aardvark-dns \
# catatonit iptables curl, and podman-compose of pip (PODMAN_COMPOSE names it where it is not on PATH). The Python image and
# those of Postgres, Prometheus and Alertmanager are replaced by Debian's packages under the same names; Grafana is not tried.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=${1:-/var/tmp/litgo-compose}
compose=${PODMAN_COMPOSE:-podman-compose}
project=litgo-try
export DAGSTER_PORT=13001 MLFLOW_PORT=15000 PROMETHEUS_PORT=19090 ALERTMANAGER_PORT=19093 GRAFANA_PORT=13000
mkdir -p "$folder"
export CONTAINERS_CONF=$folder/containers.conf CONTAINERS_STORAGE_CONF=$folder/storage.conf BUILDAH_ISOLATION=chroot
cat >"$CONTAINERS_CONF" <<CONF
[containers]
default_ulimits = ["nofile=1024:4096", "nproc=1024:4096"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "none"
CONF
cat >"$CONTAINERS_STORAGE_CONF" <<CONF
[storage]
driver = "overlay"
graphroot = "$folder/storage"
runroot = "$folder/run"
CONF

say() { printf '%s  %s\n' "$(date +%H:%M:%S)" "$*"; }
fail() { say "FAILED: $*"; exit 1; }
image_of() { sed -n "s|^ *image: \($1:.*\)$|\1|p" deploy/compose.yaml; }
made() { buildah inspect --type image "$1" >/dev/null 2>&1; }

# --- images ---------------------------------------------------------------------------------------------------------
base=docker.io/library/$(sed -n 's/^FROM \(python:[^ ]*\)$/\1/p' deploy/Dockerfile)
make_base() {
    apt-config dump | grep -E '^Acquire::Check-(Valid-Until|Date) ' >"$folder/apt.conf" || true
    # without documentation, translations and apt's caches, as the image has none
    mmdebstrap --quiet --variant=minbase --aptopt="$folder/apt.conf" --aptopt='Dir::Cache::pkgcache ""' \
        --aptopt='Dir::Cache::srcpkgcache ""' --dpkgopt='path-exclude=/usr/share/man/*' \
        --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
        --include=python3,python3-venv,python3-pip,ca-certificates bookworm "$folder/base.tar" \
        $(find /etc/apt/sources.list /etc/apt/sources.list.d -name '*.sources' -o -name '*.list' 2>/dev/null)
    container=$(buildah from scratch)
    buildah add --quiet "$container" "$folder/base.tar" / >/dev/null
    rm "$folder/base.tar"
    # so that pip trusts whom this machine trusts
    buildah copy --quiet "$container" /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt >/dev/null
    buildah run "$container" -- sh -c 'ln -sf python3 /usr/bin/python && ln -sf pip3 /usr/bin/pip'
    buildah config --env PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin "$container"
    buildah commit --quiet --rm "$container" "$base" >/dev/null
}
stand_in() {   # the image's name, then what makes it out of the base
    buildah build --quiet --pull=never --layers --tag "localhost/$1" --file - deploy >/dev/null
}

say "images"
made "$base" || make_base
buildah build --quiet --pull=never --layers --file deploy/Dockerfile --tag localhost/litgo-pipelines:0.1.0 . >/dev/null
size_of() { podman image inspect --format '{{.Size}}' "$1"; }
ours=$((($(size_of localhost/litgo-pipelines:0.1.0) - $(size_of "$base")) / 1000000))
say "image of $ours MB on top of Python's"
[ "$ours" -le 775 ] || fail "with the 125 MB of python:slim the image is larger than 900 MB"

packages='RUN apt-get update && apt-get install --yes --no-install-recommends'
stand_in "$(image_of 'pgvector/pgvector')" <<IMAGE
FROM $base
$packages postgresql
RUN useradd --uid 999 server && install --directory --owner server /var/lib/postgresql && chown server /var/lib/postgresql
COPY try_postgres.sh /usr/local/bin/
ENV PATH=/usr/lib/postgresql/15/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8
ENTRYPOINT ["/usr/local/bin/try_postgres.sh"]
IMAGE
stand_in "$(image_of prom/prometheus)" <<IMAGE
FROM $base
$packages prometheus wget && install --directory --owner 65534 /prometheus
ENTRYPOINT ["/usr/bin/prometheus"]
IMAGE
stand_in "$(image_of prom/alertmanager)" <<IMAGE
FROM $base
$packages prometheus-alertmanager wget && install --directory --owner 65534 /alertmanager
ENTRYPOINT ["/usr/bin/prometheus-alertmanager"]
IMAGE

# --- services -------------------------------------------------------------------------------------------------------
export SECRETS_DIR=$folder/secrets COMPOSE_PROJECT_NAME=$project
deploy/secrets.sh "$SECRETS_DIR"
cp .env.example "$folder/env"
services() { "$compose" --in-pod=false --project-name "$project" --env-file "$folder/env" --file deploy/compose.yaml "$@"; }
name_of() { echo "${project}_$1_1"; }
stop() {
    services down --volumes --timeout 20 >>"$folder/compose.log" 2>&1 || true
    podman rm --all --force >/dev/null   # of FOLDER only, as are the volumes
    podman volume prune --force >/dev/null
}
finish() {
    code=$?
    if [ "$code" != 0 ]; then
        for name in $(podman ps --all --format '{{.Names}}'); do echo "--- $name"; podman logs --tail 15 "$name" 2>&1; done || true
    fi
    stop
    say "stopped, nothing is left running"
    exit "$code"
}
trap finish EXIT
stop   # what a run before left, if it was killed
start() { services up --detach --no-build --no-deps "$1" >>"$folder/compose.log" 2>&1 || fail "$1 does not start"; }
healthy() {   # by the health check of compose.yaml; Debian's podman does not wait for it by itself
    for _ in $(seq 120); do
        if podman healthcheck run "$(name_of "$1")" >/dev/null 2>&1; then say "$1 is healthy"; return; fi
        [ "$(podman inspect --format '{{.State.Running}}' "$(name_of "$1")")" = true ] || fail "$1 has ended"
        sleep 1
    done
    fail "$1 is not healthy after two minutes"
}
ask() { curl --silent --show-error --max-time 30 "$@"; }
status() { ask --output /dev/null --write-out '%{http_code}' "$@"; }
must() { [ "$2" = "$3" ] && say "$1: $3" || fail "$1: $2 expected, $3 found"; }

say "services"
start postgres
healthy postgres
start migrate
must "migrate ends with" 0 "$(podman wait "$(name_of migrate)")"
start code-location; start mlflow; start exporter; start backup
for name in code-location mlflow exporter backup; do healthy $name; done
start webserver; start daemon; start prometheus; start alertmanager
for name in webserver daemon prometheus alertmanager; do healthy $name; done

# --- what they are there for ------------------------------------------------------------------------------------------
dagster=http://127.0.0.1:$DAGSTER_PORT
must "webserver" 200 "$(status "$dagster/server_info")"
must "webserver under a foreign name" 403 "$(status --header "Host: evil.example" "$dagster/")"
must "MLflow without a password" 401 "$(status "http://127.0.0.1:$MLFLOW_PORT/api/2.0/mlflow/experiments/search?max_results=1")"
must "user of the processes" 10001 "$(podman exec "$(name_of code-location)" id -u)"
podman exec "$(name_of code-location)" sh -c 'touch /app/written' 2>/dev/null && fail "the file system can be written"

up() { ask "http://127.0.0.1:$PROMETHEUS_PORT/api/v1/query?query=sum(up)" | sed -n 's/.*,"\([0-9]*\)"\].*/\1/p'; }
for _ in $(seq 40); do [ "$(up)" = 3 ] && break; sleep 1; done
must "targets scraped" 3 "$(up)"

graphql() { ask --header 'Content-Type: application/json' --data "$1" "$dagster/graphql"; }
run() {   # a job, to its end; one partition of it
    tags=${2:+'{key: \"dagster/partition\", value: \"'$2'\"}'}
    id=$(graphql '{"query": "mutation { launchRun(executionParams: {selector: {repositoryLocationName: \"litgo_pipelines\", repositoryName: \"__repository__\", jobName: \"'"$1"'\"}, runConfigData: {}, executionMetadata: {tags: ['"$tags"']}}) { ... on LaunchRunSuccess { run { runId } } } }"}' \
        | sed -n 's/.*"runId": *"\([^"]*\)".*/\1/p')
    [ -n "$id" ] || fail "$1 cannot be asked for"
    for _ in $(seq 300); do
        state=$(graphql '{"query": "{ runOrError(runId: \"'"$id"'\") { ... on Run { status } } }"}' | sed -n 's/.*"status": *"\([A-Z_]*\)".*/\1/p')
        case $state in SUCCESS | FAILURE | CANCELED) break ;; esac
        sleep 1
    done
    must "run of $1${2:+ for $2}" SUCCESS "$state"
}
run offer_expiry

backups() { podman exec "$(name_of backup)" sh -c 'ls -d /var/lib/litgo-backups/litgo-*Z 2>/dev/null | wc -l'; }
for _ in $(seq 180); do [ "$(backups)" = 1 ] && break; sleep 1; done
must "backups, made at once where there was none" 1 "$(backups)"

# --- restarts, while cases come in ------------------------------------------------------------------------------------
sql() {
    podman exec "$(name_of postgres)" sh -c 'PGPASSWORD=$(cat "$POSTGRES_PASSWORD_FILE") psql --host=127.0.0.1 \
        --username=postgres --no-psqlrc --quiet --tuples-only --no-align --command="$1" litgo' sh "$1"
}
sql "INSERT INTO profiles DEFAULT VALUES"
: >"$folder/cases"
come() {   # at most 200, until the file is gone; one that is refused comes again, as its client would
    for number in $(seq 200); do
        [ -e "$folder/cases" ] || return 0
        sql "INSERT INTO cases (client_id, title, description) SELECT id, 'Caso $number',
            'Fui demitido sem receber as verbas rescisórias nem o FGTS.' FROM profiles LIMIT 1" >/dev/null 2>&1 \
            && echo "$number" >>"$folder/cases"
        sleep 2
    done
}
come &
coming=$!
for name in code-location daemon webserver mlflow exporter backup prometheus alertmanager postgres; do
    podman restart --time 60 "$(name_of "$name")" >/dev/null
    healthy "$name"
done
came=$(wc -l <"$folder/cases")
rm "$folder/cases"
wait "$coming" || true
[ "$came" -gt 0 ] || fail "no case came in"
waiting="SELECT count(*) FROM cases WHERE NOT EXISTS (SELECT FROM litgo.triage WHERE case_id = cases.id)"
for _ in $(seq 150); do [ "$(sql "$waiting" 2>/dev/null)" = 0 ] && break; sleep 2; done
must "cases without triage, of $came that came while each service was restarted" 0 "$(sql "$waiting")"
must "triages of one case" 1 "$(sql "SELECT max(n) FROM (SELECT count(*) AS n FROM litgo.triage GROUP BY case_id) AS each")"
run offer_expiry

# --- the backup in place of what came since -----------------------------------------------------------------------------
before=$(sql "SELECT count(*) FROM cases")
for name in daemon webserver code-location mlflow exporter backup; do podman stop --time 60 "$(name_of "$name")" >/dev/null; done
services --profile restore run --rm --no-deps restore >>"$folder/compose.log" 2>&1 || fail "restore ends with $?"
must "cases, $before before the backup of none was restored" 0 "$(sql "SELECT count(*) FROM cases")"

# --- the restored one at work -------------------------------------------------------------------------------------------
services run --rm --no-deps migrate litgo simulate --lawyers 300 --cases 3000 >>"$folder/compose.log" 2>&1 \
    || fail "simulate ends with $?"
for name in code-location mlflow webserver daemon; do start $name; healthy $name; done
run nightly_equity "$(date -u --date='30 hours ago' +%F)"
run evidence
run matching
run retraining
must "a version serves" t "$(sql "SELECT count(*) > 0 FROM litgo.model_ledger WHERE transition = 'champion'")"

say "all of it went well"
