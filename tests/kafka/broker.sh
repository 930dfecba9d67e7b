#!/usr/bin/env bash
# Starts one real Apache Kafka node for the tests: broker and controller in one process, everything it writes in a folder of its own.
#
#   tests/kafka/broker.sh install                          only fetches the jars (once, 54 MB, into the cache folder)
#   tests/kafka/broker.sh start PORT CONTROLLER_PORT DIR   formats DIR where it is new, starts, prints "READY 127.0.0.1:PORT PID" once the
#                                                          node answers, then becomes the node: ending this process ends Kafka.
#                                                          One more port: there it asks for SASL/PLAIN, user `tidemill`, password `right`
#   tests/kafka/broker.sh classpath                        prints the class path, for the Java tools (console consumer, TransactionsCommand, ...)
#
# `start` on a DIR that was used before comes up with the same data: kill -9 and restart of a broker are two calls of this script.
# Exit 69: Java or Maven is missing, or the jars cannot be fetched.
set -euo pipefail

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
cache="${XDG_CACHE_HOME:-$HOME/.cache}/tidemill-kafka"
sum="$(cksum <"$here/pom.xml" | tr -d ' ')"
libs="$cache/libs-$sum"

need() {
  command -v "$1" >/dev/null 2>&1 || { echo "error: $1 is not installed, so the tests against a real Kafka cannot run" >&2; exit 69; }
}

install() {
  need java
  [ -f "$libs/.complete" ] && return 0
  need mvn
  mkdir -p "$cache"
  # Two test runs may install at once: each fills a folder of its own, the first rename wins.
  local own="$cache/.fetch-$$"
  rm -rf "$own"
  if ! mvn -q -B -f "$here/pom.xml" dependency:copy-dependencies -DoutputDirectory="$own" -DincludeScope=runtime >&2; then
    rm -rf "$own"
    echo "error: Maven could not fetch Apache Kafka; see the lines above" >&2
    exit 69
  fi
  touch "$own/.complete"
  if ! mv -T "$own" "$libs" 2>/dev/null; then rm -rf "$own"; fi
  [ -f "$libs/.complete" ]
}

start() {
  local port="$1" controller="$2" dir="$3" sasl="${4:+,SASL://127.0.0.1:$4}"
  mkdir -p "$dir"
  dir="$(cd "$dir" && pwd)"
  install
  cat >"$dir/server.properties" <<PROPERTIES
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$controller
listeners=PLAINTEXT://127.0.0.1:$port,CONTROLLER://127.0.0.1:$controller$sasl
advertised.listeners=PLAINTEXT://127.0.0.1:$port$sasl
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SASL:SASL_PLAINTEXT
listener.name.sasl.sasl.enabled.mechanisms=PLAIN
listener.name.sasl.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_tidemill="right";
log.dirs=$dir/data
default.replication.factor=1
min.insync.replicas=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
group.initial.rebalance.delay.ms=0
auto.create.topics.enable=false
log.cleaner.dedupe.buffer.size=16777216
# Records carry event times of 2001: time-based retention would delete them half a minute after they were written.
log.retention.ms=-1
PROPERTIES
  if [ ! -f "$dir/data/meta.properties" ]; then
    local id
    id="$(java -Xshare:auto -XX:TieredStopAtLevel=1 -cp "$libs/*" kafka.tools.StorageTool random-uuid 2>/dev/null)"
    java -XX:TieredStopAtLevel=1 -cp "$libs/*" kafka.tools.StorageTool format -t "$id" -c "$dir/server.properties" >"$dir/format.log" 2>&1 ||
      { cat "$dir/format.log" >&2; exit 70; }
  fi
  # The watcher announces the node once its port answers; the node itself takes this process's place, so its pid is this script's.
  local me=$$
  (
    for _ in $(seq 1 600); do
      kill -0 "$me" 2>/dev/null || exit 0
      if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
        echo "READY 127.0.0.1:$port $me"
        exit 0
      fi
      sleep 0.1
    done
    echo "error: Kafka did not answer on port $port within 60 s; see $dir/kafka.log" >&2
    kill "$me"
  ) &
  exec java -Xmx256m -XX:+UseSerialGC -cp "$libs/*" kafka.Kafka "$dir/server.properties" >"$dir/kafka.log" 2>&1
}

case "${1:-}" in
  install) install ;;
  start) [ $# -eq 4 ] || [ $# -eq 5 ] || { sed -n '2,11p' "$0" >&2; exit 2; }; start "${@:2}" ;;
  classpath) install; printf '%s/*\n' "$libs" ;;
  *) sed -n '2,11p' "$0" >&2; exit 2 ;;
esac
