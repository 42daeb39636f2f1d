# shellcheck shell=bash
# What others receive with: Python's standardwebhooks, cloudevents and apprise behind receivers.py, and mastodon-mock, a server with
# Mastodon's API. Mail is received by aiosmtpd, and its signatures verified by dkimpy, with the keys' records from files.

receivers_packages() { lacking python3:python3,python3-venv; }
receivers_install() {
  python3 -m venv "$peers_dir/receivers" && "$peers_dir/receivers/bin/pip" install -q standardwebhooks==1.1.0 cloudevents==2.2.0 \
    apprise==2.3.0 mastodon-mock==0.6.1 aiosmtpd==1.4.6 dkimpy==1.1.8 pynacl==1.6.2 >"$peers_dir/receivers-install.log" 2>&1
}

receivers_start() {
  local port mastodon smtp bin=$peers_dir/receivers/bin keys=$peers_dir/receivers-keys
  free_port port && free_port mastodon && free_port smtp
  mkdir -p "$keys"
  openssl genpkey -quiet -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out "$keys/rsa.pem"
  openssl rsa -traditional -in "$keys/rsa.pem" -out "$keys/traditional.pem" 2>/dev/null
  openssl genpkey -quiet -algorithm RSA -pkeyopt rsa_keygen_bits:1024 -out "$keys/short.pem"
  openssl genpkey -algorithm ED25519 -out "$keys/ed25519.pem"
  echo "v=DKIM1; k=rsa; p=$(openssl pkey -in "$keys/rsa.pem" -pubout -outform DER | base64 -w0)" | tee "$keys/rsa.txt" >"$keys/traditional.txt"
  echo "v=DKIM1; k=ed25519; p=$(openssl pkey -in "$keys/ed25519.pem" -pubout -outform DER | tail -c 32 | base64)" >"$keys/ed25519.txt"
  PEER_RECEIVERS_SECRET=whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD
  background receivers "$bin/python" tests/peers/receivers.py "$port" "$PEER_RECEIVERS_SECRET" "$smtp" "$keys"
  background mastodon "$bin/mastodon_mock" serve --in-memory --host 127.0.0.1 --port "$mastodon"
  until_true receivers open_port "$port" && until_true receivers greets "$smtp" && until_true mastodon open_port "$mastodon" || return 1
  export PEER_RECEIVERS=http://127.0.0.1:$port PEER_RECEIVERS_SECRET
  export PEER_RECEIVERS_SMTP=127.0.0.1:$smtp PEER_RECEIVERS_KEYS=$keys
  export PEER_MASTODON=http://127.0.0.1:$mastodon PEER_MASTODON_TOKEN=mock_token
}

receivers_stop() {
  end mastodon
  end receivers
}
receivers_version() { echo "standardwebhooks 1.1.0, cloudevents 2.2.0, apprise 2.3.0, mastodon-mock 0.6.1, aiosmtpd 1.4.6, dkimpy 1.1.8"; }
