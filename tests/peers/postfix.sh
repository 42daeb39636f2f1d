# shellcheck shell=bash
# Postfix, an instance of its own: a plain port (STARTTLS offered), a submission port (STARTTLS and AUTH demanded), a
# port with TLS from the first byte and AUTH. Logins are Cyrus SASL's from a file. Two plain ports count what a client does. One takes
# mail also for who is not there, and reports that later: to a program, or into a Maildir.

postfix_packages() {
  lacking /usr/lib/postfix/sbin/master:postfix saslpasswd2:sasl2-bin '/usr/lib/*/sasl2/libplain.so:libsasl2-modules'
}
postfix_install() { :; }

postfix_start() {
  local dir=$peers_dir/postfix plain submission tls strict narrow late owner
  free_port plain && free_port submission && free_port tls && free_port strict && free_port narrow && free_port late
  postfix_files "$dir"
  mkdir -p "$dir/etc/sasl"

  cat >>"$dir/etc/main.cf" <<END
maillog_file = /dev/stdout
myhostname = mail.example.test
smtpd_recipient_restrictions = check_recipient_access regexp:$dir/etc/answers
smtpd_tls_cert_file = $peers_dir/tls/server.pem
smtpd_tls_key_file = $peers_dir/tls/server.key
smtpd_tls_security_level = may
smtpd_tls_auth_only = yes
smtpd_sasl_path = smtpd
smtpd_sasl_local_domain = example.test
cyrus_sasl_config_path = $dir/etc/sasl
smtpd_error_sleep_time = 0
anvil_rate_time_unit = 2s
virtual_mailbox_maps = regexp:$dir/etc/users
transport_maps = regexp:$dir/etc/transports
queue_run_delay = 1s
minimal_backoff_time = 1s
maximal_backoff_time = 1s
END
  owner=$(stat -c %U "$dir/mail")
  mkdir -p "$dir/bounces/new" "$dir/bounces/cur" "$dir/bounces/tmp"
  as_root chown -R "$owner" "$dir/bounces"
  cat >"$dir/etc/users" <<'END'
/^returned\+/ bounces/
!/^gone-/ mail/
END
  echo '/^bounces\+/ report:' >"$dir/etc/transports"
  # Whoever wants the reports writes what is to run, and sees how it ended. The program is not the mail server's.
  mkdir -p "$dir/report"
  as_root chown "$owner" "$dir/report"
  cat >"$dir/report/run" <<END
#!/bin/sh
sh "$dir/report/program"
status=\$?
echo \$status >>"$dir/report/ended"
exit \$status
END
  cat >"$dir/etc/answers" <<'END'
/^answer-421/ 421 4.7.0 closing
/^answer-450/ 450 4.2.0 come back later
/^answer-451/ 451 4.3.0 trouble here
/^answer-busy/ 451 4.7.1 Too many messages, slow down
/^answer-452/ 452 4.2.2 mailbox full
/^answer-550/ 550 5.1.1 no such user
/^answer-554/ 554 5.7.1 refused by policy
END
  cat >"$dir/etc/sasl/smtpd.conf" <<END
pwcheck_method: auxprop
auxprop_plugin: sasldb
sasldb_path: $dir/etc/sasl/users
mech_list: PLAIN LOGIN
END
  echo secret | saslpasswd2 -p -c -f "$dir/etc/sasl/users" -u example.test loudhailer
  as_root chown postfix "$dir/etc/sasl/users"

  local authenticated='-o smtpd_sasl_auth_enable=yes -o smtpd_client_restrictions=permit_sasl_authenticated,reject'
  # What is counted of nobody in mynetworks by itself: everyone here comes from loopback.
  local counted='-o smtpd_client_event_limit_exceptions='
  cat >>"$dir/etc/master.cf" <<END
127.0.0.1:$plain      inet n - n - - smtpd
127.0.0.1:$submission inet n - n - - smtpd -o smtpd_tls_security_level=encrypt $authenticated
127.0.0.1:$tls        inet n - n - - smtpd -o smtpd_tls_wrappermode=yes $authenticated
127.0.0.1:$strict     inet n - n - - smtpd $counted -o smtpd_client_message_rate_limit=4
127.0.0.1:$narrow     inet n - n - - smtpd $counted -o smtpd_client_connection_count_limit=1
127.0.0.1:$late       inet n - n - - smtpd -o smtpd_reject_unlisted_recipient=no
report  unix - n n - 1 pipe flags=DR user=$owner argv=/bin/sh $dir/report/run
tlsmgr  unix - - n 1000? 1 tlsmgr
END
  background postfix as_root postfix -c "$dir/etc" start-fg
  until_true postfix greets "$plain" || return 1
  export PEER_POSTFIX=127.0.0.1:$plain PEER_POSTFIX_SUBMISSION=127.0.0.1:$submission PEER_POSTFIX_TLS=127.0.0.1:$tls
  export PEER_POSTFIX_STRICT=127.0.0.1:$strict PEER_POSTFIX_NARROW=127.0.0.1:$narrow
  export PEER_POSTFIX_LATE=127.0.0.1:$late PEER_POSTFIX_REPORT=$dir/report PEER_POSTFIX_BOUNCES=$dir/bounces
  export PEER_POSTFIX_USER=loudhailer@example.test PEER_POSTFIX_PASSWORD=secret PEER_MAILDIR=$dir/mail
}

# The master process notes its own pid; it is the one to end.
postfix_stop() {
  as_root cat "$peers_dir/postfix/spool/pid/master.pid" 2>/dev/null | tr -d ' ' >"$peers_dir/postfix.pid"
  end postfix
}
postfix_version() { echo "postfix $(/usr/sbin/postconf -dh mail_version)"; }
