#!/usr/bin/env bash
# A SLURM of two nodes on this machine, for tests: bash tests/cluster/slurm.sh FOLDER, as root.
# Prints "ready" when jobs can be submitted with SLURM_CONF=FOLDER/slurm.conf; everything ends when its input is closed.
set -euo pipefail
folder="$1" host="$(hostname)" daemons=()
mkdir -p "$folder"/{state,n1,n2}
port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

end() {
  for pid in "${daemons[@]}"; do kill "$pid" 2>/dev/null || true; done
  wait
}
trap end EXIT

head -c 1024 /dev/urandom >"$folder/munge.key"
chmod 400 "$folder/munge.key"
munged --foreground --force --key-file="$folder/munge.key" --socket="$folder/munge.sock" --pid-file="$folder/munged.pid" \
  --log-file="$folder/munged.log" --seed-file="$folder/munge.seed" </dev/null &
daemons+=($!)
while [ ! -S "$folder/munge.sock" ]; do sleep 0.05; done

cat >"$folder/slurm.conf" <<CONF
ClusterName=test
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$(port)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
# A job that is put back in the queue waits for its old credential to end: 2 minutes where nothing is set.
AuthInfo=socket=$folder/munge.sock,cred_expire=5
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/%n
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd-%n.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SwitchType=switch/none
MpiDefault=none
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
SlurmdParameters=config_overrides
ReturnToService=2
KillWait=5
SchedulerParameters=sched_interval=2,bf_interval=2
NodeName=n1 NodeHostname=$host NodeAddr=127.0.0.1 Port=$(port) CPUs=1 State=UNKNOWN
NodeName=n2 NodeHostname=$host NodeAddr=127.0.0.1 Port=$(port) CPUs=1 State=UNKNOWN
PartitionName=work Nodes=n1,n2 Default=YES MaxTime=INFINITE State=UP
CONF
export SLURM_CONF="$folder/slurm.conf"
slurmctld -D >"$folder/slurmctld.log" 2>&1 </dev/null &
daemons+=($!)
for node in n1 n2; do
  slurmd -D -N "$node" >"$folder/slurmd-$node.log" 2>&1 </dev/null &
  daemons+=($!)
done
for _ in $(seq 300); do
  [ "$(sinfo -h -o '%D %t' 2>/dev/null)" = "2 idle" ] && { echo ready; break; }
  sleep 0.1
done
cat >/dev/null
