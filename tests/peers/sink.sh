# shellcheck shell=bash
# Postfix's smtp-sink: takes any mail at full speed and throws it away.

sink_packages() { lacking /usr/sbin/smtp-sink:postfix; }
sink_install() { :; }
sink_start() {
  local port user=()
  [ "$(id -u)" != 0 ] || user=(-u nobody)
  free_port port
  background sink /usr/sbin/smtp-sink "${user[@]}" "127.0.0.1:$port" 256
  until_true sink greets "$port" || return 1
  export PEER_SMTP_SINK=127.0.0.1:$port
}
sink_stop() { end sink; }
sink_version() { echo "smtp-sink $(/usr/sbin/postconf -dh mail_version)"; }
