# shellcheck shell=bash
# ngIRCd, an IRC server: a plain port and one with TLS, both with a password of the server's. A test that stops a server starts its own.

ngircd_packages() { lacking /usr/sbin/ngircd:ngircd; }
ngircd_install() { :; }

ngircd_start() {
  local dir=$peers_dir/ngircd plain tls
  free_port plain && free_port tls
  mkdir -p "$dir"
  # Started as root it reads its files as a user of its own.
  cp "$peers_dir/tls/server.key" "$peers_dir/tls/server.pem" "$dir"
  chmod 755 "$dir"
  chmod 644 "$dir"/*
  cat >"$dir/ngircd.conf" <<END
[Global]
  Name = irc.example.test
  Info = a server of the tests
  Listen = 127.0.0.1
  Ports = $plain
  Password = letmein
[Limits]
  MaxConnectionsIP = 0
  MaxNickLength = 20
[Options]
  DNS = no
  Ident = no
  PAM = no
[SSL]
  Ports = $tls
  CertFile = $dir/server.pem
  KeyFile = $dir/server.key
[Channel]
  Name = #invited
  Modes = inP
END
  PEER_NGIRCD=$(PATH=$PATH:/usr/sbin command -v ngircd) || return 1
  background ngircd "$PEER_NGIRCD" -n -f "$dir/ngircd.conf"
  until_true ngircd open_port "$plain" && until_true ngircd open_port "$tls" || return 1
  export PEER_NGIRCD PEER_IRC=127.0.0.1:$plain PEER_IRC_TLS=127.0.0.1:$tls PEER_IRC_PASSWORD=letmein
}

ngircd_stop() { end ngircd; }
ngircd_version() { echo "ngircd $(/usr/sbin/ngircd --version | grep -oE '[0-9]+(\.[0-9]+)?' | head -n 1)"; }
