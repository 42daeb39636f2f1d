# shellcheck shell=bash
# What the peers share: packages, free ports, processes by their noted pid, waiting until a peer answers.
# Enters: $peers_dir, one temporary folder that holds everything a run writes.

if [ "$(id -u)" = 0 ]; then as_root() { "$@"; }; else as_root() { sudo -n "$@"; }; fi

# Prints the packages whose command or file (`what:package`, several packages joined by commas) is not there.
lacking() {
  local pair
  for pair; do
    compgen -G "${pair%%:*}" >/dev/null || command -v "${pair%%:*}" >/dev/null || echo "${pair#*:}" | tr ',' ' '
  done
}

# Installs Debian packages; a policy stops their services from starting, and is taken away again if it was ours.
apt_install() {
  [ $# -gt 0 ] || return 0
  echo "installing: $*"
  local policy=/usr/sbin/policy-rc.d ours='' status=0
  if [ ! -e $policy ]; then
    ours=yes
    printf '#!/bin/sh\nexit 101\n' | as_root tee $policy >/dev/null && as_root chmod 755 $policy
  fi
  as_root env DEBIAN_FRONTEND=noninteractive sh -c '
    apt-get -qq update
    command -v debconf-set-selections >/dev/null &&
      echo "postfix postfix/main_mailer_type select No configuration" | debconf-set-selections
    apt-get -qq install -y --no-install-recommends "$@"' apt "$@" >"$peers_dir/apt.log" 2>&1 || status=$?
  [ $status = 0 ] || tail -n 20 "$peers_dir/apt.log"
  [ -z "$ours" ] || as_root rm -f $policy
  return $status
}

# free_port NAME: sets the variable NAME to a port of loopback that nobody listens on and that was not handed out before.
handed=' '
free_port() {
  local candidate
  while :; do
    candidate=$((20000 + RANDOM % 12000))
    [[ $handed == *" $candidate "* ]] || open_port "$candidate" || break
  done
  handed+="$candidate "
  printf -v "$1" %s "$candidate"
}
open_port() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# background NAME COMMAND...: starts a process, its output in NAME.log, its pid in NAME.pid.
background() {
  local name=$1
  shift
  "$@" >"$peers_dir/$name.log" 2>&1 </dev/null &
  echo $! >"$peers_dir/$name.pid"
}

alive() { [ -s "$peers_dir/$1.pid" ] && as_root kill -0 "$(<"$peers_dir/$1.pid")" 2>/dev/null; }

# end NAME: asks the noted process to stop, insists after ten seconds.
end() {
  local pid try
  alive "$1" || return 0
  pid=$(<"$peers_dir/$1.pid")
  as_root kill "$pid" 2>/dev/null || return 0
  for try in {1..100}; do alive "$1" || break; sleep 0.1; done
  [ "$try" -lt 100 ] || as_root kill -9 "$pid" 2>/dev/null || true
  wait "$pid" 2>/dev/null || true
}

# until_true NAME COMMAND...: up to 60 s for the command to succeed, less if the process NAME dies; then its log is shown.
until_true() {
  local name=$1 try
  shift
  for try in {1..600}; do
    "$@" 2>/dev/null && return 0
    [ "$try" -lt 5 ] || alive "$name" || break
    sleep 0.1
  done
  echo "$name does not answer:"
  tail -n 20 "$peers_dir/$name.log" 2>/dev/null
  return 1
}

# Is it a mail server that speaks first?
greets() { [ "$(head -c 3 <"/dev/tcp/127.0.0.1/$1")" = 220 ]; }

http_get() {
  exec 3<>"/dev/tcp/127.0.0.1/$1" || return 1
  printf 'GET %s HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n' "$2" >&3
  cat <&3
  exec 3<&-
}

# postfix_files DIR: what every Postfix of ours has: folders, and main.cf and master.cf to which its own lines are added.
# Whatever it accepts lies in one Maildir, DIR/mail.
postfix_files() {
  local dir=$1 owner
  owner=$(id -u)
  [ "$owner" != 0 ] || owner=$(id -u nobody)
  mkdir -p "$dir/etc" "$dir/spool" "$dir/mail"
  as_root install -d -o postfix "$dir/data"
  as_root chown "$owner" "$dir/mail"
  cat >"$dir/etc/main.cf" <<END
compatibility_level = 3.6
queue_directory = $dir/spool
data_directory = $dir/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
mail_owner = postfix
setgid_group = postdrop
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mydestination =
mynetworks =
alias_maps =
virtual_mailbox_domains = regexp:$dir/etc/domains
virtual_mailbox_maps = static:mail/
virtual_mailbox_base = $dir
virtual_uid_maps = static:$owner
virtual_gid_maps = static:$(id -g nobody)
virtual_minimum_uid = 1
smtpd_relay_restrictions = reject_unauth_destination
smtpd_client_connection_count_limit = 0
smtpd_client_connection_rate_limit = 0
default_process_limit = 50
END
  echo '/./ mail' >"$dir/etc/domains"
  cat >"$dir/etc/master.cf" <<END
cleanup unix n - n - 0 cleanup
qmgr    unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce  unix - - n - 0 bounce
defer   unix - - n - 0 bounce
trace   unix - - n - 0 bounce
proxymap unix - - n - - proxymap
virtual unix - n n - - virtual
error   unix - - n - - error
retry   unix - - n - - error
anvil   unix - - n - 1 anvil
postlog unix-dgram n - n - 1 postlogd
END
}
