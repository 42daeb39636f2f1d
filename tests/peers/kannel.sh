# shellcheck shell=bash
# Kannel (bearerbox and smsbox): an HTTP gateway for SMS, bound to the simulator of smsc.sh.

kannel_packages() { lacking /usr/sbin/bearerbox:kannel; }
kannel_install() { :; }

kannel_start() {
  local dir=$peers_dir/kannel admin boxes send
  free_port admin && free_port boxes && free_port send
  mkdir -p "$dir"
  cat >"$dir/kannel.conf" <<END
group = core
admin-port = $admin
admin-interface = 127.0.0.1
admin-password = secret
smsbox-port = $boxes
smsbox-interface = 127.0.0.1
box-allow-ip = 127.0.0.1
dlr-storage = internal
store-type = file
store-location = $dir/store
sms-resend-freq = 1
sms-resend-retry = 2

group = smsc
smsc = smpp
smsc-id = simulator
host = 127.0.0.1
port = ${PEER_SMSC##*:}
transceiver-mode = true
smsc-username = kannel
smsc-password = secret
system-type = ""
interface-version = 34
reconnect-delay = 1

group = smsbox
bearerbox-host = 127.0.0.1
bearerbox-port = $boxes
sendsms-port = $send
sendsms-interface = 127.0.0.1

group = sendsms-user
username = loudhailer
password = secret
concatenation = true
max-messages = 10
END
  background bearerbox /usr/sbin/bearerbox -v 1 "$dir/kannel.conf"
  until_true bearerbox open_port "$boxes" || return 1
  background smsbox /usr/sbin/smsbox -v 1 "$dir/kannel.conf"
  until_true smsbox open_port "$send" && until_true bearerbox kannel_online "$admin" || return 1
  export PEER_KANNEL=http://127.0.0.1:$send/cgi-bin/sendsms PEER_KANNEL_USER=loudhailer PEER_KANNEL_PASSWORD=secret
}
kannel_online() { http_get "$1" '/status.txt?password=secret' | grep -q 'simulator.*online'; }

kannel_stop() { end smsbox && end bearerbox; }
kannel_version() { echo "kannel $(/usr/sbin/bearerbox --version 2>&1 | grep -oE '[0-9]+\.[0-9]+\.[0-9]+' | head -n 1)"; }
