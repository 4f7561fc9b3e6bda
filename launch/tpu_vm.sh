#!/usr/bin/env bash
# Runs studies on a Cloud TPU VM, or on all hosts of a pod slice, by gcloud. Documented, not exercised here: no TPU.
#
#   launch/tpu_vm.sh create --name=icl --zone=us-west4-a --type=v5litepod-16 [--spot] [--project=P] [--version=V]
#   launch/tpu_vm.sh setup  --name=icl --zone=us-west4-a [--bucket=B]
#   launch/tpu_vm.sh run    --name=icl --zone=us-west4-a -- --config=configs/icl_iwl/p_high.py --workdir='~/bucket/p_high'
#   launch/tpu_vm.sh logs   --name=icl --zone=us-west4-a [--worker=0]
#   launch/tpu_vm.sh stop   --name=icl --zone=us-west4-a
#   launch/tpu_vm.sh resume ...the line of run, with --type and --bucket: makes a slice that was preempted anew
#   launch/tpu_vm.sh delete --name=icl --zone=us-west4-a
#
# What stands behind -- goes to launch/run.py on every host, which connects them (--distributed=on). Host 0 writes, to
# a folder that should outlive the slice: in a bucket that setup mounts at ~/bucket, or on a network disk.
# TPU_NAME, TPU_ZONE, TPU_TYPE, TPU_VERSION, TPU_PROJECT and TPU_BUCKET are defaults of the flags. --dry_run prints the
# commands instead of running them.

# shellcheck disable=SC2016  # what stands in single quotes is for the shells of the hosts
set -euo pipefail

fail() {
  printf '%s\n' "$1" >&2
  exit 1
}

name=${TPU_NAME:-} zone=${TPU_ZONE:-} type=${TPU_TYPE:-v5litepod-8} version=${TPU_VERSION:-v2-alpha-tpuv5-lite}
project=${TPU_PROJECT:-} bucket=${TPU_BUCKET:-} worker=0 spot=() dry_run=''
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
action=${1:-}
case $action in
  create | setup | run | logs | stop | resume | delete) shift ;;
  -h | --help | help) sed -n '2,/^$/{s/^# \{0,1\}//;p;}' "${BASH_SOURCE[0]}" && exit ;;
  '') fail 'What to do? Give create, setup, run, logs, stop, resume or delete; see --help.' ;;
  *) fail "There is no command '$action'; allowed: create, setup, run, logs, stop, resume, delete." ;;
esac
while [[ $# -gt 0 && $1 != -- ]]; do
  case $1 in
    --name=*) name=${1#*=} ;;
    --zone=*) zone=${1#*=} ;;
    --type=*) type=${1#*=} ;;
    --version=*) version=${1#*=} ;;
    --project=*) project=${1#*=} ;;
    --bucket=*) bucket=${1#*=} ;;
    --worker=*) worker=${1#*=} ;;
    --spot) spot=(--spot) ;;
    --dry_run) dry_run=yes ;;
    *) fail "There is no flag $1; allowed: --name= --zone= --type= --version= --project= --bucket= --worker= --spot \
--dry_run, and flags of launch/run.py behind --." ;;
  esac
  shift
done
[[ ${1:-} != -- ]] || shift
[[ -n $name ]] || fail 'Which TPU VM? Give --name=NAME, or set TPU_NAME.'
[[ -n $zone ]] || fail 'Where? Give --zone=ZONE, as us-west4-a, or set TPU_ZONE.'
case $action in
  run | resume)
    given=" $*"
    [[ $given == *' --config='* ]] || fail 'Which study? Give its flags behind --, as -- --config=FILE --workdir=DIR.'
    [[ $given == *' --workdir='* ]] || fail 'Where to? Give --workdir=DIR behind --, a folder on the hosts.'
    ;;
  *) [[ $# == 0 ]] || fail "$action takes nothing behind --." ;;
esac
[[ -n $dry_run ]] || command -v gcloud >/dev/null || fail 'gcloud is not on the path: install the Google Cloud CLI.'

# Prints, and unless it is a dry run, runs a command of gcloud for TPU VMs, in the zone and project.
tpu() {
  local command=(gcloud compute tpus tpu-vm "$@" "--zone=$zone")
  [[ -z $project ]] || command+=("--project=$project")
  if [[ -n $dry_run ]]; then
    printf '%q ' "${command[@]}"
    printf '\n'
  else
    "${command[@]}"
  fi
}

on_all() {
  tpu ssh "$name" --worker=all "--command=$1"
}

create() {
  tpu create "$name" "--accelerator-type=$type" "--version=$version" ${spot[@]+"${spot[@]}"}
}

setup() {
  packed=$(mktemp -d)
  trap 'rm -rf "$packed"' EXIT
  git -C "$root" archive --format=tar.gz --output="$packed/icl_sim.tar.gz" HEAD
  tpu scp "$packed/icl_sim.tar.gz" "$name:" --worker=all
  # The images have older Pythons than we need; uv brings one.
  on_all 'set -e; mkdir -p icl_sim; tar xzf icl_sim.tar.gz -C icl_sim; cd icl_sim; python3 -m pip install --user uv; '\
'python3 -m uv venv --allow-existing --python 3.12 .venv; '\
'python3 -m uv pip install --python .venv/bin/python --editable ".[report]" "jax[tpu]"'
  [[ -z $bucket ]] ||
    on_all "mkdir -p bucket; mountpoint -q bucket || gcsfuse --implicit-dirs $(printf '%q' "${bucket#gs://}") bucket"
}

# A run that is at work is left alone; the same line starts one again that has ended or was stopped.
run() {
  local arg quoted=''
  for arg in "$@"; do
    if [[ $arg == '--workdir=~/'* ]]; then # quoted as a whole, ~ would be no home
      quoted+="--workdir=\"\$HOME\"/$(printf '%q' "${arg#'--workdir=~/'}") "
    else
      quoted+="$(printf '%q' "$arg") "
    fi
  done
  on_all 'if [ -e icl_sim.pid ] && kill -0 "$(cat icl_sim.pid)" 2>/dev/null; then '\
'echo "A run is at work on this host: see logs, or stop it." >&2; exit 1; fi; cd icl_sim; '\
"nohup .venv/bin/python launch/run.py --distributed=on $quoted"'>>../icl_sim.log 2>&1 </dev/null & '\
'echo $! >../icl_sim.pid'
}

case $action in
  create) create ;;
  setup) setup ;;
  run) run "$@" ;;
  logs) tpu ssh "$name" "--worker=$worker" '--command=tail -n 100 -F icl_sim.log' ;;
  stop) on_all 'kill "$(cat icl_sim.pid)" && echo "It ends after this chunk, with everything saved."' ;;
  resume)
    state=$(tpu describe "$name" '--format=value(state)') || state=GONE
    [[ -z $dry_run ]] || printf '%s\n' "$state" '# A slice that is READY is kept. Only any other is deleted and made anew:'
    if [[ $state != READY ]]; then
      [[ $state == GONE ]] || tpu delete "$name" --quiet
      create
      setup
    fi
    [[ -z $dry_run ]] || printf '# In both cases:\n'
    run "$@"
    ;;
  delete) tpu delete "$name" --quiet ;;
esac
