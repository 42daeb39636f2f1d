# shellcheck shell=bash
# A second Postfix, for a test that stops it in the middle of its work and starts it again: the plain port alone.

relay_packages() { lacking /usr/lib/postfix/sbin/master:postfix; }
relay_install() { :; }

relay_start() {
  local dir=$peers_dir/relay port owner
  free_port port
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
maillog_file = $dir/log
maillog_file_prefixes = $dir
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
myhostname = relay.example.test
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
127.0.0.1:$port inet n - n - - smtpd
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
  cat >"$dir/control" <<END
#!/bin/sh
# start, stop, or queued: how many mails it has accepted and not delivered yet
[ "\$(id -u)" = 0 ] || exec sudo -n "\$0" "\$@"
cd "$dir/spool" || exit
case \$1 in
  queued) find maildrop incoming active deferred -type f | wc -l ;;
  *) postfix -c "$dir/etc" "\$1" 2>>"$dir/log" >&2 ;;
esac
END
  chmod 755 "$dir/control"
  "$dir/control" start || { cat "$dir/log"; return 1; }
  until_true relay greets "$port" || return 1
  export PEER_RELAY=127.0.0.1:$port PEER_RELAY_CONTROL=$dir/control PEER_RELAY_MAILDIR=$dir/mail
}

relay_stop() { "$peers_dir/relay/control" stop; }
relay_version() { :; }
