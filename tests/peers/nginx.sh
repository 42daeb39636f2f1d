# shellcheck shell=bash
# nginx: a page as a real server publishes it, with entity tags. What a test puts into its folder is served.

nginx_packages() { lacking /usr/sbin/nginx:nginx-light; }
nginx_install() { :; }
nginx_start() {
  local dir=$peers_dir/nginx
  free_port nginx_port
  mkdir -p "$dir/pages"
  cat >"$dir/nginx.conf" <<END
daemon off;
pid $dir/nginx.pid;
error_log stderr;
worker_processes 1;
events {}
http {
  access_log $dir/access.log;
  client_body_temp_path $dir/client;
  proxy_temp_path $dir/proxy;
  fastcgi_temp_path $dir/fastcgi;
  uwsgi_temp_path $dir/uwsgi;
  scgi_temp_path $dir/scgi;
  types { application/json json; application/atom+xml atom; }
  server {
    listen 127.0.0.1:$nginx_port;
    root $dir/pages;
    location /busy { add_header Retry-After 1800 always; return 503; }
    location /moved { return 301 /summary.json; }
  }
}
END
  background nginx /usr/sbin/nginx -c "$dir/nginx.conf" -e stderr
  until_true nginx open_port "$nginx_port" || return 1
  export PEER_NGINX=127.0.0.1:$nginx_port PEER_NGINX_PAGES=$dir/pages
}
nginx_stop() { end nginx; }
nginx_version() { /usr/sbin/nginx -v 2>&1 | sed 's|.*nginx/|nginx |'; }
