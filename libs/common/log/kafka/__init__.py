"""Kafka as the event log of the distributed engine. Nothing else in the product speaks Kafka.

aiokafka is trusted with the protocol and with nothing more. Its calls may hang while a broker is away or a
topic is gone, a send that timed out is not withdrawn, and of a topic that was deleted and made again it gives
the new records under the old offsets. So every wait here has an end, a producer that failed is thrown away,
and records are handed on only after the topic has been seen to be the one that was subscribed to.

`log` is what the loops use; it publishes by `sending` and subscribes with a `member`. Below them are the
`questions` that are put to brokers, and `connections`, how they are begun, kept and ended.
"""

from libs.common.log.kafka.log import KafkaLog

__all__ = ["KafkaLog"]
