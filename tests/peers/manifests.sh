# shellcheck shell=bash
# What becomes of k8s/: kustomize builds each overlay, and the schemas of Kubernetes that PyPI's kubernetes-validate ships judge it.
# `manifests OVERLAY` prints a JSON list: each object, and what is wrong with it; null where no schema knows its kind.

manifests_kustomize=v5.0.3
manifests_packages() { lacking go:golang-go python3:python3,python3-venv; }
manifests_install() {
  {
    python3 -m venv "$peers_dir/manifests" &&
      "$peers_dir/manifests/bin/pip" install -q kubernetes-validate==1.37.0 pyyaml==6.0.2 &&
      GOBIN=$peers_dir/manifests/bin GOTOOLCHAIN=local GOFLAGS=-modcacherw \
        go install "sigs.k8s.io/kustomize/kustomize/v5@$manifests_kustomize"
  } >"$peers_dir/manifests-install.log" 2>&1 || { tail -n 20 "$peers_dir/manifests-install.log"; return 1; }
}

manifests_start() {
  cat >"$peers_dir/manifests/manifests" <<END
#!/bin/sh
set -e
"$peers_dir/manifests/bin/kustomize" build "\$1" |
  "$peers_dir/manifests/bin/python" "$PWD/tests/peers/manifests.py"
END
  chmod 755 "$peers_dir/manifests/manifests"
  export PEER_MANIFESTS=$peers_dir/manifests/manifests
}

manifests_stop() { :; }
manifests_version() { echo "kustomize $manifests_kustomize, kubernetes-validate 1.37.0"; }
