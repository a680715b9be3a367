"""A plain Python client, as anybody would write one. It knows nothing of Waybill.

usage: client.py BROKERS write                   a JSON object per line of the input is a record:
                                                 topic, partition (or none), key, headers [name, value, ...], payload
       client.py BROKERS read ISOLATION TOPIC    every record from the beginning on, a JSON object per line
"""

import json
import sys

from kafka import KafkaConsumer, KafkaProducer, TopicPartition


def write(brokers):
    producer = KafkaProducer(bootstrap_servers=brokers, acks="all")
    for line in sys.stdin:
        r = json.loads(line)
        pairs = r["headers"]
        producer.send(
            r["topic"],
            key=r["key"].encode(),
            value=r["payload"].encode(),
            partition=r.get("partition"),
            headers=[(name, value.encode()) for name, value in zip(pairs[::2], pairs[1::2])],
        ).get(timeout=30)
    producer.close()


def read(brokers, isolation, topic):
    consumer = KafkaConsumer(bootstrap_servers=brokers, isolation_level=isolation)
    partitions = [TopicPartition(topic, p) for p in consumer.partitions_for_topic(topic)]
    consumer.assign(partitions)
    consumer.seek_to_beginning(*partitions)
    for r in consumer:
        headers = [text for name, value in r.headers for text in (name, value.decode())]
        record = {"partition": r.partition, "offset": r.offset, "key": r.key.decode(), "headers": headers, "payload": r.value.decode()}
        print(json.dumps(record), flush=True)


if sys.argv[2] == "write":
    write(sys.argv[1].split(","))
else:
    read(sys.argv[1].split(","), *sys.argv[3:])
