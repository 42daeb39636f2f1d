# shellcheck shell=bash
# A second Postfix, for a test that stops it in the middle of its work and starts it again: the plain port alone.

relay_packages() { lacking /usr/lib/postfix/sbin/master:postfix; }
relay_install() { :; }

relay_start() {
  local dir=$peers_dir/relay port
  free_port port
  postfix_files "$dir"

  cat >>"$dir/etc/main.cf" <<END
maillog_file = $dir/log
maillog_file_prefixes = $dir
myhostname = relay.example.test
queue_run_delay = 1s
minimal_backoff_time = 1s
END
  echo "127.0.0.1:$port inet n - n - - smtpd" >>"$dir/etc/master.cf"
  cat >"$dir/control" <<END
#!/bin/sh
# start, stop, or queued: how many mails it has accepted and not delivered yet
[ "\$(id -u)" = 0 ] || exec sudo -n "\$0" "\$@"
cd "$dir/spool" || exit
case \$1 in
  # What it was writing when it was stopped is not executable, and was not accepted.
  queued) find maildrop incoming active deferred -type f -perm -100 | wc -l ;;
  *) postfix -c "$dir/etc" "\$1" 2>>"$dir/log" >&2 ;;
esac
END
  chmod 755 "$dir/control"
  # Programs that drop their rights write to it, too.
  : >"$dir/log" && chmod 666 "$dir/log"
  "$dir/control" start || { cat "$dir/log"; return 1; }
  until_true relay greets "$port" || return 1
  export PEER_RELAY=127.0.0.1:$port PEER_RELAY_CONTROL=$dir/control PEER_RELAY_MAILDIR=$dir/mail
}

relay_stop() { "$peers_dir/relay/control" stop; }
relay_version() { :; }
