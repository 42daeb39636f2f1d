# shellcheck shell=bash
# Apache Kafka, one broker in KRaft mode: a plain listener, one with SASL (SCRAM-SHA-512), one with TLS, one with both.
# The jars come from Maven Central by kafka/pom.xml and stay in the target folder.

# An id by chance may begin with -, which is taken for an option.
kafka_id=$(printf loudhailer-tests | base64 | tr -d =)
kafka_jars=$target/peers/kafka-$(cksum <tests/peers/kafka/pom.xml | cut -d' ' -f1)

kafka_packages() {
  java_17 || lacking none:default-jre-headless
  [ -d "$kafka_jars" ] || lacking mvn:maven
}
java_17() { java -version 2>&1 | grep -Eq 'version "(1[7-9]|[2-9][0-9])'; }

kafka_install() {
  [ ! -d "$kafka_jars" ] || return 0
  local fresh=$kafka_jars.$$
  mvn -q -B -f tests/peers/kafka/pom.xml dependency:copy-dependencies -DincludeScope=runtime \
    -DoutputDirectory="$fresh" >"$peers_dir/kafka.log" 2>&1 || { tail -n 20 "$peers_dir/kafka.log"; return 1; }
  mv -T "$fresh" "$kafka_jars" 2>/dev/null || rm -rf "$fresh"
}

# kafka_folder DIR: makes a broker's folder, and sets the array `java` to what runs a class of Kafka's by it.
kafka_folder() {
  mkdir -p "$1"
  cat tests/peers/kafka/log4j2.properties >"$1/log4j2.properties"
  java=(java -cp "$1:$kafka_jars/*" -Dlog4j2.configurationFile=log4j2.properties)
}

kafka_start() {
  local dir=$peers_dir/kafka plain sasl tls both controller java
  kafka_folder "$dir"
  free_port plain && free_port sasl && free_port tls && free_port both && free_port controller
  cat "$peers_dir/tls/server.key" "$peers_dir/tls/server.pem" >"$dir/server.pem"
  cat >"$dir/server.properties" <<END
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$controller
controller.listener.names=CONTROLLER
listeners=PLAIN://127.0.0.1:$plain,SASL://127.0.0.1:$sasl,TLS://127.0.0.1:$tls,BOTH://127.0.0.1:$both,CONTROLLER://127.0.0.1:$controller
advertised.listeners=PLAIN://127.0.0.1:$plain,SASL://127.0.0.1:$sasl,TLS://127.0.0.1:$tls,BOTH://127.0.0.1:$both
listener.security.protocol.map=PLAIN:PLAINTEXT,SASL:SASL_PLAINTEXT,TLS:SSL,BOTH:SASL_SSL,CONTROLLER:PLAINTEXT
inter.broker.listener.name=PLAIN
sasl.enabled.mechanisms=SCRAM-SHA-512
listener.name.sasl.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.both.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
ssl.keystore.type=PEM
ssl.keystore.location=$dir/server.pem
log.dirs=$dir/data
num.partitions=3
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
END
  "${java[@]}" kafka.tools.StorageTool format -t "$kafka_id" -c "$dir/server.properties" \
    --add-scram 'SCRAM-SHA-512=[name=loudhailer,password=secret]' >"$peers_dir/kafka.log" 2>&1 ||
    { cat "$peers_dir/kafka.log"; return 1; }
  background kafka "${java[@]}" -Xms256m -Xmx512m -XX:+UseSerialGC kafka.Kafka "$dir/server.properties"
  until_true kafka open_port "$plain" || return 1
  cat >"$dir/produce" <<END
#!/bin/sh
# produce TOPIC: each line of standard input is a record, \`name=value|name=value<tab>key<tab>value\`.
exec java -cp '$dir:$kafka_jars/*' -Dlog4j2.configurationFile=log4j2.properties org.apache.kafka.tools.ConsoleProducer \\
  --bootstrap-server 127.0.0.1:$plain --topic "\$1" --command-property acks=all \\
  --reader-property parse.headers=true --reader-property parse.key=true \\
  --reader-property 'headers.separator=\\|' --reader-property 'headers.key.separator=='
END
  chmod 755 "$dir/produce"
  export PEER_KAFKA=127.0.0.1:$plain PEER_KAFKA_SASL=127.0.0.1:$sasl PEER_KAFKA_TLS=127.0.0.1:$tls
  export PEER_KAFKA_SASL_TLS=127.0.0.1:$both
  export PEER_KAFKA_USER=loudhailer PEER_KAFKA_PASSWORD=secret PEER_KAFKA_PRODUCE=$dir/produce
}

kafka_stop() { end kafka; }
kafka_version() { echo "kafka $(basename "$kafka_jars"/kafka-clients-*.jar .jar | cut -d- -f3)"; }
