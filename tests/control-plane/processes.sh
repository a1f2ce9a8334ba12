# Sourced by up, down and restart: processes that outlive the script that started them, known by id.
#
# DIR/run/NAME is the script that starts NAME; DIR/run/NAME.pid holds its process id and the moment of its start, so that a later process with the same
# id is never taken for it; DIR/run/order names all of them in the order of their start; DIR/logs/NAME.log is what they print.

# born PID: when it started, in ticks since the machine's boot. Fails where there is none; a zombie is none, unless other threads of it are still
# ending: until they have, it holds its ports.
born() {
  local stat threads
  stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
  # The second field, the name, may hold anything; the state follows its bracket, the start is the 20th from there.
  read -r -a stat <<<"${stat##*) }"
  if [ "${stat[0]}" = Z ] || [ "${stat[0]}" = X ]; then
    threads=(/proc/"$1"/task/*)
    [ "${#threads[@]}" -gt 1 ] || return 1
  fi
  echo "${stat[19]}"
}

# alive DIR NAME
alive() {
  local pid start
  read -r pid start 2>/dev/null <"$1/run/$2.pid" && [ "$(born "$pid")" = "$start" ]
}

# launch DIR NAME: in a session of its own, so that Ctrl-C at the terminal is not for it.
launch() {
  local dir=$1 name=$2 pid start
  setsid "$dir/run/$name" </dev/null >>"$dir/logs/$name.log" 2>&1 9>&- & # 9: a lock that `up` may hold
  pid=$!
  disown # nobody is to be told how it ended
  start=$(born "$pid") || start=0
  echo "$pid $start" >"$dir/run/$name.pid"
}

# halt DIR NAME GRACE_S: asks, and kills after the grace time. Succeeds once it is gone.
halt() {
  local dir=$1 name=$2 grace=$3 pid _ signal deadline
  for signal in TERM KILL; do
    alive "$dir" "$name" || break
    read -r pid _ <"$dir/run/$name.pid"
    kill -s "$signal" "$pid" 2>/dev/null
    kill -s CONT "$pid" 2>/dev/null # one that was paused can't hear
    deadline=$((SECONDS + grace))
    while alive "$dir" "$name" && [ "$SECONDS" -lt "$deadline" ]; do sleep 0.1; done
  done
  alive "$dir" "$name" && return 1
  rm -f "$dir/run/$name.pid"
}

# halt_all DIR GRACE_S: in reverse order, since a kube-apiserver whose etcd went first hangs.
halt_all() {
  local dir=$1 grace=$2 name stuck=0
  while read -r name; do
    halt "$dir" "$name" "$grace" || { echo "$name does not end: process $(cat "$dir/run/$name.pid")" >&2; stuck=1; }
  done < <(tac "$dir/run/order" 2>/dev/null)
  return "$stuck"
}

# await SECONDS DIR NAME COMMAND…: until the command succeeds; fails when NAME ends or the time is over, and shows why.
await() {
  local deadline=$((SECONDS + $1)) dir=$2 name=$3 why; shift 3
  until "$@" >/dev/null 2>>"$dir/logs/waits.log"; do
    why=
    alive "$dir" "$name" || why="$name ended"
    [ "$SECONDS" -lt "$deadline" ] || why="not in time: $*"
    if [ -n "$why" ]; then
      { echo "$why; the end of $dir/logs/$name.log:"; tail -n 15 "$dir/logs/$name.log"; } >&2
      return 1
    fi
    sleep 0.2
  done
}

# What `up` and `restart` wait for.
# kubectl_as_admin DIR ARGS…
kubectl_as_admin() { local dir=$1; shift; "$dir/bin/kubectl" --kubeconfig "$dir/kubeconfig" --request-timeout 10s "$@"; }
ready_etcd() { kubectl_as_admin "$1" get --raw /readyz/etcd; }
ready_kube-apiserver() { kubectl_as_admin "$1" get --raw /readyz; }
# By then it has worked: every namespace gets an account and the CA.
ready_kube-controller-manager() { kubectl_as_admin "$1" get -n default serviceaccount/default configmap/kube-root-ca.crt; }
ready_kube-scheduler() { kubectl_as_admin "$1" get --server "https://127.0.0.1:$(cat "$1/run/kube-scheduler.port")" --raw /healthz; }
ready_kwok() { alive "$1" kwok; }
