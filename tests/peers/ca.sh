# shellcheck shell=bash
# A certificate authority for one run, and one server certificate (localhost, 127.0.0.1, mail.example.test) by it.

ca_packages() { lacking openssl:openssl; }
ca_install() { :; }
ca_version() { :; }
ca_stop() { :; }
ca_start() {
  local dir=$peers_dir/tls new=(-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes)
  mkdir -p "$dir" && {
    openssl req -x509 "${new[@]}" -keyout "$dir/ca.key" -out "$dir/ca.pem" -days 30 -subj '/CN=peers of the tests' &&
      openssl req "${new[@]}" -keyout "$dir/server.key" -out "$dir/server.csr" -subj /CN=localhost &&
      openssl x509 -req -in "$dir/server.csr" -CA "$dir/ca.pem" -CAkey "$dir/ca.key" -CAcreateserial -days 30 \
        -out "$dir/server.pem" -extfile <(
          echo 'subjectAltName=DNS:localhost,DNS:mail.example.test,IP:127.0.0.1'
          echo 'basicConstraints=CA:FALSE'
          echo 'extendedKeyUsage=serverAuth'
        )
  } 2>"$peers_dir/ca.log" || { cat "$peers_dir/ca.log"; return 1; }
  export PEER_CA=$dir/ca.pem
}
