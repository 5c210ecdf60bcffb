"""A real Apache Kafka for the tests: one broker that is its own controller, on jars from Maven."""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from tests.engines import server

VERSION = "4.3.1"

# Kafka speaks slf4j 1.7; without a binding to it a dying broker says nothing.
POM = f"""\
<project>
  <modelVersion>4.0.0</modelVersion>
  <groupId>liandong</groupId>
  <artifactId>kafka-for-tests</artifactId>
  <version>1</version>
  <packaging>pom</packaging>
  <dependencies>
    <dependency>
      <groupId>org.apache.kafka</groupId>
      <artifactId>kafka_2.13</artifactId>
      <version>{VERSION}</version>
    </dependency>
    <dependency>
      <groupId>org.apache.logging.log4j</groupId>
      <artifactId>log4j-slf4j-impl</artifactId>
      <version>2.25.4</version>
    </dependency>
  </dependencies>
</project>
"""

# One partition for each internal topic keeps the start short. The cleaner's buffer must be small, or the
# broker dies at start in a heap below 192 MB. With the short broker session the port is open again less
# than three seconds after a kill; with the default it takes twelve. Clients that came in by the second
# listener are told to come back to its front port, where a test may pass on what it likes to the back port.
PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{control}
listeners=BROKER://127.0.0.1:{port},AROUND://127.0.0.1:{back},CONTROLLER://127.0.0.1:{control}
advertised.listeners=BROKER://127.0.0.1:{port},AROUND://127.0.0.1:{front}
listener.security.protocol.map=BROKER:PLAINTEXT,AROUND:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=BROKER
controller.listener.names=CONTROLLER
log.dirs={data}
offsets.topic.num.partitions=1
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
auto.create.topics.enable=false
log.retention.ms=-1
log.cleaner.dedupe.buffer.size=2097152
broker.session.timeout.ms=1000
broker.heartbeat.interval.ms=200
"""

JAVA = ("java", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")

#: What the readiness check writes to; no test uses it.
READY = "liandong.tests.ready"

_TOPIC_EXISTS = 36


class Kafka:
    """One broker. Its address and its topics outlive `kill` and `start`; `close` ends both."""

    def __init__(self, cache: Path) -> None:
        jars = _jars(cache)
        self._place = server.workplace("kafka")
        self.port = server.free_port()
        #: The second way in: who bootstraps at the front stays there, and a test carries it to the back.
        self.front, self.back = server.free_port(), server.free_port()
        self._data = self._place / "data"
        settings = self._place / "server.properties"
        settings.write_text(
            PROPERTIES.format(
                port=self.port,
                front=self.front,
                back=self.back,
                control=server.free_port(),
                data=self._data,
            )
        )
        classes = ("-cp", f"{jars}/*")
        _run([*JAVA, "-Xmx128m", *classes, "kafka.tools.StorageTool", "format"], settings)
        self._server = server.Server(
            [*JAVA, "-Xmx256m", *classes, "kafka.Kafka", str(settings)], log=self._place / "server.log"
        )
        self.start()

    @property
    def bootstrap(self) -> str:
        """What clients call `bootstrap_servers`."""
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it on the same port and data. It blocks: call it in a thread from async code."""
        self._server.start(lambda: server.answers(self.port))
        # An open port promises little: ready is a broker that has acknowledged a record. The loop of this
        # check is its own, in its own thread, since the caller may be inside another.
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            pool.submit(asyncio.run, _acknowledge(self.bootstrap)).result()

    def stop(self) -> None:
        """End it in order."""
        self._server.stop()

    def kill(self) -> None:
        self._server.kill()

    def pause(self) -> None:
        self._server.pause()

    def resume(self) -> None:
        self._server.resume()

    def lose_tail(self, topic: str, size: int) -> int:
        """While it is killed, cut `size` bytes off the longest partition of a topic; gives its number.

        What power loss does to records that were acknowledged and not yet on disk.
        """
        logs = {int(d.name.rpartition("-")[2]): _newest(d) for d in self._data.glob(f"{topic}-*")}
        number, log = max(logs.items(), key=lambda found: found[1].stat().st_size)
        os.truncate(log, max(log.stat().st_size - size, 0))
        return number

    def close(self) -> None:
        """End it and remove its data."""
        self.stop()
        shutil.rmtree(self._place, ignore_errors=True)


def _newest(partition: Path) -> Path:
    """The segment that is being written."""
    return max(partition.glob("*.log"))


async def _acknowledge(bootstrap: str) -> None:
    async with asyncio.timeout(server.PATIENCE):
        admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
        await admin.start()
        try:
            made = await admin.create_topics([NewTopic(READY, num_partitions=1, replication_factor=1)])
        finally:
            await admin.close()
        errors = {code for _, code, *_ in made.topic_errors}
        if errors - {0, _TOPIC_EXISTS}:
            raise server.NotReady(f"Kafka made no topic: {made}")
        async with AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all") as producer:
            await producer.send_and_wait(READY, b"ready")


def _jars(cache: Path) -> Path:
    """The directory of Kafka's jars, fetched once; half a fetch never looks like a whole one."""
    for program in ("java", "mvn"):
        if shutil.which(program) is None:
            raise server.Unavailable(f"Kafka: there is no {program} on this machine")
    if (java := _java()) < 17:
        raise server.Unavailable(f"Kafka: Java 17 is needed, and this is {java}")
    jars = cache / f"kafka-{VERSION}"
    if jars.is_dir():
        return jars
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as half:
        pom = Path(half, "pom.xml")
        pom.write_text(POM)
        where = Path(half, "jars")
        fetch = ["mvn", "-q", "-B", "-f", str(pom), "dependency:copy-dependencies"]
        done = subprocess.run(
            [*fetch, f"-DoutputDirectory={where}", "-DincludeScope=runtime"],
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if done.returncode != 0:
            raise server.Unavailable(f"Kafka: Maven could not fetch it\n{done.stdout[-2000:]}")
        try:
            where.rename(jars)
        except OSError:
            # Another run was faster, and its jars are the same.
            if not jars.is_dir():
                raise
    return jars


def _java() -> int:
    """The major version of the Java in use."""
    said = subprocess.run(["java", "-version"], check=True, capture_output=True, text=True).stderr
    version = re.search(r'version "(\d+)', said)
    return int(version[1]) if version else 0


def _run(argv: list[str], settings: Path) -> None:
    cluster = "liandong-for-tests-001"
    done = subprocess.run(
        [*argv, "-t", cluster, "-c", str(settings)],
        check=False,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode != 0:
        raise server.NotReady(f"Kafka did not format its data\n{done.stdout}")
