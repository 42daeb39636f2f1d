# shellcheck shell=bash
# Apache Kafka, three brokers that are controllers as well: what is acknowledged is on two of them at least. Tests stop and kill one
# of them. Each has a second listener, whose advertised address is nobody's until a test puts a way there that it can cut.
. tests/peers/kafka.sh

kafka_cluster_packages() { kafka_packages; }
kafka_cluster_install() { kafka_install; }

kafka_cluster_start() {
  local dir=$peers_dir/kafka_cluster number java plain cut way controller
  local plains=() cuts=() ways=() controllers=() voters formatting=()
  for number in 1 2 3; do
    free_port plain && free_port cut && free_port way && free_port controller
    plains+=("127.0.0.1:$plain") cuts+=("127.0.0.1:$cut") ways+=("127.0.0.1:$way") controllers+=("$number@127.0.0.1:$controller")
  done
  voters=$(IFS=,; echo "${controllers[*]}")
  for number in 1 2 3; do
    kafka_folder "$dir/$number"
    plain=${plains[number - 1]} cut=${cuts[number - 1]} way=${ways[number - 1]} controller=${controllers[number - 1]#*@}
    cat >"$dir/$number/server.properties" <<END
process.roles=broker,controller
node.id=$number
controller.quorum.voters=$voters
controller.listener.names=CONTROLLER
listeners=PLAIN://$plain,CUT://$cut,CONTROLLER://$controller
advertised.listeners=PLAIN://$plain,CUT://$way
listener.security.protocol.map=PLAIN:PLAINTEXT,CUT:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=PLAIN
log.dirs=$dir/$number/data
num.partitions=6
default.replication.factor=3
min.insync.replicas=2
unclean.leader.election.enable=false
offsets.topic.replication.factor=3
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=3
transaction.state.log.min.isr=2
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=3
share.coordinator.state.topic.min.isr=2
group.initial.rebalance.delay.ms=0
broker.session.timeout.ms=6000
broker.heartbeat.interval.ms=1000
END
    "${java[@]}" -XX:TieredStopAtLevel=1 kafka.tools.StorageTool format -t "$kafka_id" -c "$dir/$number/server.properties" \
      >"$dir/$number/log" 2>&1 &
    formatting+=($!)
  done
  for number in 1 2 3; do
    wait "${formatting[number - 1]}" || { cat "$dir/$number/log"; return 1; }
  done
  cat >"$dir/control" <<END
#!/bin/bash
# start N, stop N, kill N. Returns once the broker answers, or is gone.
cd "$dir/\$2" || exit
plains=(${plains[*]})
at=\${plains[\$2 - 1]}
ended() {
  # Gone, or waiting for whoever started it to notice.
  for try in {1..600}; do
    grep -qs '^State:[[:space:]]*[^Z]' "/proc/\$1/status" || return 0
    sleep 0.1
  done
  return 1
}
case \$1 in
  start)
    java -cp "$dir/\$2:$kafka_jars/*" -Dlog4j2.configurationFile=log4j2.properties -Xms64m -Xmx256m -XX:+UseSerialGC \\
      -XX:TieredStopAtLevel=1 kafka.Kafka server.properties >>log 2>&1 </dev/null &
    echo \$! >pid
    for try in {1..600}; do
      (exec 3<>"/dev/tcp/\${at/://}") 2>/dev/null && exit
      kill -0 "\$(<pid)" 2>/dev/null || break
      sleep 0.1
    done
    tail -n 20 log >&2
    exit 1 ;;
  stop) kill "\$(<pid)" && ended "\$(<pid)" ;;
  kill) kill -9 "\$(<pid)" && ended "\$(<pid)" ;;
esac
END
  chmod 755 "$dir/control"
  local starting=()
  for number in 1 2 3; do
    "$dir/control" start $number &
    starting+=($!)
  done
  for number in 1 2 3; do wait "${starting[number - 1]}" || return 1; done
  PEER_KAFKA_CLUSTER=$(IFS=,; echo "${plains[*]}")
  PEER_KAFKA_CLUSTER_WAYS=$(IFS=,; echo "${ways[*]}")
  PEER_KAFKA_CLUSTER_BEHIND=$(IFS=,; echo "${cuts[*]}")
  export PEER_KAFKA_CLUSTER PEER_KAFKA_CLUSTER_WAYS PEER_KAFKA_CLUSTER_BEHIND PEER_KAFKA_CLUSTER_CONTROL=$dir/control
}

# Nothing of theirs is wanted afterwards; asked all at once they would wait for each other.
kafka_cluster_stop() {
  local number
  for number in 1 2 3; do "$peers_dir/kafka_cluster/control" kill $number 2>/dev/null || true; done
}
kafka_cluster_version() { :; }
