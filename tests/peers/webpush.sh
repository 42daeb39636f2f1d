# shellcheck shell=bash
# A push service and the browsers behind it: npm's web-push-testing checks who sends, and decrypts.

webpush_packages() { lacking node:nodejs npm:npm; }
webpush_install() {
  npm install --silent --no-audit --no-fund --prefix "$peers_dir/webpush" web-push-testing@1.2.2 >"$peers_dir/webpush-install.log" 2>&1
}

webpush_start() {
  local port
  free_port port
  # By itself it listens on every interface.
  NODE_PATH=$peers_dir/webpush/node_modules background webpush node -e "
    const { PushApiModel } = require('web-push-testing/src/PushApiModel');
    const Server = require('web-push-testing/src/server');
    const server = new Server(new PushApiModel(), $port);
    server._app.listen($port, '127.0.0.1');
    server.setRequestHandlers();"
  until_true webpush open_port "$port" || return 1
  export PEER_WEBPUSH=127.0.0.1:$port
}

webpush_stop() { end webpush; }
webpush_version() { echo "web-push-testing 1.2.2"; }
