#!/bin/sh
# A SLURM of this machine alone, in one folder, without systemd: to try things, and for the tests.
#   scripts/one-machine-slurm.sh start FOLDER    then: export SLURM_CONF=FOLDER/slurm.conf
#   scripts/one-machine-slurm.sh stop FOLDER
# It runs as the user who starts it, for the jobs of that user, on ports and with a key of its own;
# nothing outside of the folder is written. Partition cpu has all cores of the machine, partition gpu
# too, and a GPU that is only counted, so that jobs can be sent there.
set -eu
PATH=$PATH:/usr/sbin:/sbin
usage="usage: $0 start|stop FOLDER"
action=${1:?$usage}
mkdir -p "${2:?$usage}"
folder=$(cd "$2" && pwd)

alive() {
    status=/proc/$(cat "$folder/$1.pid" 2>/dev/null || echo none)/status
    [ -r "$status" ] && ! grep -q '^State:.*Z' "$status"
}

stop() {
    if alive slurmctld; then
        SLURM_CONF=$folder/slurm.conf timeout 10 scancel --user="$(id -un)" || true
    fi
    for daemon in slurmd slurmctld munged; do
        alive "$daemon" || continue
        kill "$(cat "$folder/$daemon.pid")"
        for _ in $(seq 100); do alive "$daemon" || break; sleep 0.1; done
    done
}

fail() {
    echo "$1; the end of the logs in $folder:" >&2
    for log in munged slurmctld slurmd; do
        [ -s "$folder/$log.log" ] && { echo "--- $log.log"; tail -n 15 "$folder/$log.log"; } >&2
    done
    stop
    exit 1
}

configure() {
    user=$(id -un)
    host=$(hostname -s)
    ports=$(python3 -c '
import socket
found = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
print(*(each.getsockname()[1] for each in found))')
    memory=$(awk '/^MemTotal/ { print int($2 / 1024 * 0.9) }' /proc/meminfo)
    cat >"$folder/slurm.conf" <<END
ClusterName=here
# an address, so that the name of the host need not be known to any DNS
SlurmctldHost=$host(127.0.0.1)
SlurmUser=$user
SlurmdUser=$user
SlurmctldPort=${ports% *}
SlurmdPort=${ports#* }
AuthType=auth/munge
AuthInfo=socket=$folder/munge.socket
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
# no cgroups: they are not to be had in many containers
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/filetxt
JobCompLoc=$folder/jobs.txt
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=bf_interval=1,sched_interval=2,sched_min_interval=0,batch_sched_delay=0
ReturnToService=2
KillWait=2
OverTimeLimit=0
MailProg=/bin/true
MpiDefault=none
SwitchType=switch/none
GresTypes=gpu
NodeName=$host NodeAddr=127.0.0.1 CPUs=$(nproc) RealMemory=$memory Gres=gpu:1
PartitionName=cpu Nodes=$host Default=YES MaxTime=1-00:00:00
PartitionName=gpu Nodes=$host MaxTime=12:00:00
END
    echo "NodeName=$host Name=gpu File=/dev/null" >"$folder/gres.conf"
    echo "CgroupAutomount=no" >"$folder/cgroup.conf"
}

start() {
    for program in munged slurmctld slurmd sbatch; do
        command -v "$program" >/dev/null || {
            echo "$program is not installed: apt-get install slurm-wlm munge" >&2
            exit 1
        }
    done
    for daemon in slurmctld slurmd munged; do
        ! alive "$daemon" || { echo "$daemon runs in $folder already: stop it first" >&2; exit 1; }
    done
    mkdir -p "$folder/state" "$folder/spool"
    configure
    export SLURM_CONF="$folder/slurm.conf"
    (umask 077 && head -c 1024 /dev/urandom >"$folder/munge.key")
    # --force: the folders above this one are as they are
    munged --force --num-threads=2 --key-file="$folder/munge.key" --socket="$folder/munge.socket" \
        --pid-file="$folder/munged.pid" --log-file="$folder/munged.log" \
        --seed-file="$folder/munge.seed" 2>/dev/null || fail "munged did not start"
    slurmctld || fail "slurmctld did not start"
    slurmd || fail "slurmd did not start"
    for _ in $(seq 150); do
        sinfo --noheader --format=%T 2>/dev/null | grep -q '^idle' && return
        sleep 0.2
    done
    fail "SLURM has no node that is idle"
}

case $action in
start)
    start
    echo "SLURM runs: export SLURM_CONF=$folder/slurm.conf"
    ;;
stop) stop ;;
*)
    echo "$usage" >&2
    exit 2
    ;;
esac
