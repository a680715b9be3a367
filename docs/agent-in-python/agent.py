"""An agent for Waybill in Python, with nothing but a Kafka client.

    pip install -r requirements.txt
    python agent.py --brokers 127.0.0.1:9092 --type wordcount.example.com

Agent is what every agent needs and can be copied as it is; wordcount, at the end, is what
this one does. README.md, beside this file, explains both.
"""

import argparse
import concurrent.futures
import datetime
import hashlib
import json
import os
import signal
import socket
import sys
import threading
import time
import uuid
from collections import OrderedDict

from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition

REMEMBERED = 16384  # attempts that are recognised when they are offered again
READ_WITHIN = 30  # seconds that reading a large value may take
MAX_REPORT = 1_000_000  # bytes; a record has at most 1 MiB
GRACE = 10  # seconds that a stopping agent gives what it has begun


# The five results. A processor returns one of them; an exception is a fatal one.
def complete(output=None, spawn=()):
    return "work.complete.v1", {"output": output, "spawn": list(spawn)}


def wait(after=None):
    return "work.wait.v1", {"after": seconds(after)}


def schedule(after, state=None):
    return "work.schedule.v1", {"after": seconds(after), "state": state}


def retry(error, after=None, state=None):
    return "work.retry.v1", {"error": {"message": str(error)}, "after": seconds(after), "state": state}


def fatal(error):
    return "work.fail.v1", {"error": {"message": str(error)}}


def reportable(result):
    """The result, unless it cannot be a record: then the reason is raised here, and reported."""
    kind, body = result
    size = len(json.dumps(body, allow_nan=False))
    if size > MAX_REPORT:
        raise ValueError(f"the result has {size} bytes, over the limit of {MAX_REPORT} bytes for one report")
    return kind, body


def seconds(after):
    return None if after is None else f"PT{after}S"


class Activity:
    """One attempt at a piece of work."""

    def __init__(self, record):
        self.work_id = record["workId"]  # the same in every attempt: pass it on as idempotency key
        self.attempt = record["attempt"]
        self.aggregate = record["aggregate"]
        self.job = record["aggregateId"]
        self.id = record["activityId"]
        self.type = record["type"]
        self.discriminator = record.get("discriminator", "")
        self.resource = record.get("resource", "")  # what the job deploys or disposes of
        self.input = record.get("input") or {}
        self.state = record.get("state")  # what the last result left
        self.deadline = record.get("deadline")  # of this attempt
        self.lease = record.get("heartbeatTimeoutMs", 10000) / 1000
        self.traceparent = record.get("traceparent")
        self.cancelled = threading.Event()  # nobody wants the result any more

    @property
    def key(self):
        return self.work_id, self.attempt

    def overdue(self):
        if self.deadline is None:
            return False
        # Nanoseconds are more than Python reads.
        whole, _, _ = self.deadline.rstrip("Z").partition(".")
        end = datetime.datetime.fromisoformat(whole).replace(tzinfo=datetime.timezone.utc)
        return datetime.datetime.now(datetime.timezone.utc) > end + datetime.timedelta(seconds=1)


class Agent:
    def __init__(self, type, process, brokers, name, concurrency=8, prefix="waybill",
                 partitioner="murmur2_random", kafka=None):
        self.type, self.process, self.name, self.prefix = type, process, name, prefix
        self.topic = f"{prefix}.work.{type}"
        self.stopping = threading.Event()
        self.slots = threading.Semaphore(concurrency)
        self.pool = concurrent.futures.ThreadPoolExecutor(concurrency)
        self.held = {}  # attempts under way, by (work id, attempt)
        self.seen = OrderedDict()  # attempts that were claimed here
        self.told = {}  # when an error was last printed
        common = {"bootstrap.servers": brokers, "client.id": name, "error_cb": self.trouble, "log_level": 4, **(kafka or {})}
        self.common = common
        self.producer = Producer({
            **common,
            "enable.idempotence": True,
            "linger.ms": 1,
            "partitioner": partitioner,  # librdkafka's own, CRC32, works too: see README.md
        })
        self.consumer = Consumer({
            **common,
            "group.id": f"{prefix}.agents.{type}",  # all agents of a type are one group
            "isolation.level": "read_committed",  # what was rolled back was never asked for
            "auto.offset.reset": "earliest",
            "enable.auto.offset.store": False,  # only what was claimed is behind us
            "session.timeout.ms": 6000,
            "topic.metadata.refresh.interval.ms": 5000,  # the topic comes with the first job
        })

    def run(self):
        """Takes work until stop is called; returns how much of it is left to its lease."""
        self.consumer.subscribe([self.topic])
        threading.Thread(target=self.beat, daemon=True).start()
        paused = False
        while not self.stopping.is_set():
            # Without a free slot nothing is taken, but polling goes on: it keeps us in the group.
            free = self.slots.acquire(blocking=False)
            if free and paused:
                self.consumer.resume(self.consumer.assignment())
                paused = False
            message = self.consumer.poll(0.1 if free else 0.02)
            usable = message is not None and self.usable(message)
            if not free:
                if usable:  # put it back
                    self.consumer.seek(TopicPartition(message.topic(), message.partition(), message.offset()))
                if usable or not paused:
                    self.consumer.pause(self.consumer.assignment())
                    paused = True
            elif not usable or not self.take(message):
                self.slots.release()
        self.consumer.close()
        end = time.monotonic() + GRACE
        while self.held and time.monotonic() < end:
            time.sleep(0.05)
        self.producer.flush(5)
        return len(self.held)

    def stop(self, *_):
        self.stopping.set()

    def usable(self, message):
        error = message.error()
        if error is None:
            return True
        if error.code() != KafkaError.UNKNOWN_TOPIC_OR_PART:  # nobody has asked for anything yet
            self.trouble(error)
        return False

    def trouble(self, error):
        """Says what librdkafka meets and tries again by itself, but not twenty times a second."""
        if time.monotonic() - self.told.get(error.code(), -60) > 10:
            self.told[error.code()] = time.monotonic()
            print(f"{self.name}: {error}", file=sys.stderr, flush=True)

    def take(self, message):
        """Claims the work of a record and begins it; False means that there is nothing to do."""
        kind = dict(message.headers() or []).get("ce_type")
        begun = False
        try:
            if kind == b"work.requested.v1":
                activity = Activity(json.loads(message.value()))
                if activity.key not in self.seen and not activity.overdue():
                    self.claim(activity)
                    begun = True
            elif kind == b"work.cancelled.v1":
                record = json.loads(message.value())
                held = self.held.get((record["workId"], record["attempt"]))
                if held:
                    held.cancelled.set()
        except (ValueError, KeyError, TypeError) as e:  # nobody can read it
            print(f"{self.name}: {message.topic()}/{message.partition()}/{message.offset()}: {e!r}", file=sys.stderr, flush=True)
        # After the claim: from here on the lease alone says that the work is being done.
        self.consumer.store_offsets(message)
        return begun

    def claim(self, activity):
        self.heartbeat(activity, claimed := threading.Event())
        while not claimed.is_set():
            self.producer.poll(0.1)
        self.seen[activity.key] = None
        if len(self.seen) > REMEMBERED:
            self.seen.popitem(last=False)
        self.held[activity.key] = activity
        self.pool.submit(self.carry_out, activity)

    def carry_out(self, activity):
        try:
            activity.input = self.whole(activity.input)
            result = reportable(self.process(activity))
        except TimeoutError as e:
            result = retry(e)
        except Exception as e:  # what a second attempt would meet again
            result = fatal(f"{type(e).__name__}: {e}")
        finally:
            self.slots.release()
        try:
            if not activity.cancelled.is_set():
                kind, body = result
                # Derived, so that a report that is repeated is recognised.
                report = uuid.uuid5(uuid.NAMESPACE_URL, f"{activity.work_id}/{activity.attempt}/{kind}")
                self.send(activity, str(report), kind, body)
        finally:
            del self.held[activity.key]  # else its lease would be extended for ever

    def whole(self, value):
        """Puts what is too large for a record, and is kept elsewhere, in its place."""
        if isinstance(value, list):
            return [self.whole(v) for v in value]
        if not isinstance(value, dict):
            return value
        if set(value) == {"$blob"}:
            return self.fetch(value["$blob"])
        if set(value) == {"$join"}:  # a text with such values in it
            parts = [self.whole(v) for v in value["$join"]]
            return "".join(p if isinstance(p, str) else json.dumps(p, separators=(",", ":")) for p in parts)
        return {k: self.whole(v) for k, v in value.items()}

    def fetch(self, blob):
        """Reads a large value, which stands in chunks on a topic of its own."""
        chunks, end = {}, time.monotonic() + READ_WITHIN
        reader = Consumer({**self.common, "group.id": self.name, "enable.auto.commit": False, "auto.offset.reset": "earliest"})
        try:
            reader.assign([TopicPartition(f"{self.prefix}.blobs", blob["partition"], blob["offset"])])
            while len(chunks) < blob["chunks"]:
                if time.monotonic() > end:
                    raise TimeoutError(f"the value {blob['id']} could not be read within {READ_WITHIN} s")
                message = reader.poll(0.1)
                if message is None or message.error():
                    continue
                if message.offset() > blob["last"]:
                    raise LookupError(f"the value {blob['id']} is no longer there")
                name, _, number = message.key().decode().rpartition("/")
                if name == blob["id"] and number.isdigit():  # others stand between
                    chunks[int(number)] = message.value()
        finally:
            reader.close()
        raw = b"".join(chunks[n] for n in sorted(chunks))
        if hashlib.sha256(raw).hexdigest() != blob["sha256"]:
            raise ValueError(f"the value {blob['id']} is not what it was")
        value = json.loads(raw)
        for step in filter(None, blob.get("path", "").split(".")):  # only a part of it is meant
            value = value[int(step)] if isinstance(value, list) else value.get(step)
        return value

    def beat(self):
        """Extends all claims, three times within each lease."""
        due = {}
        while True:
            now = time.monotonic()
            held = list(self.held.values())
            due = {a.key: due.get(a.key, now + a.lease / 3) for a in held}
            for activity in held:
                if due[activity.key] <= now:
                    self.heartbeat(activity)
                    due[activity.key] = now + activity.lease / 3
            self.producer.poll(0.05)

    def heartbeat(self, activity, done=None):
        self.send(activity, str(uuid.uuid4()), "work.heartbeat.v1", {"agent": self.name}, done)

    def send(self, activity, id, kind, body, done=None):
        """Puts a command for the aggregate that asked for the work on its topic."""
        headers = {
            "ce_specversion": "1.0",
            "ce_id": id,
            "ce_source": f"/agents/{self.name}",
            "ce_type": kind,
            "ce_subject": activity.job,
            "ce_time": datetime.datetime.now(datetime.timezone.utc).isoformat().replace("+00:00", "Z"),
            "content-type": "application/json",
        }
        if activity.traceparent:
            headers["traceparent"] = activity.traceparent
        value = {"workId": activity.work_id, "attempt": activity.attempt}
        value.update((k, v) for k, v in body.items() if v is not None)

        def delivered(error, _):
            if error is not None:  # librdkafka has tried for minutes; the lease says the rest
                print(f"{self.name}: {kind} of {activity.work_id}: {error}", file=sys.stderr, flush=True)
            if done is not None:
                done.set()

        while True:
            try:
                self.producer.produce(
                    f"{self.prefix}.{activity.aggregate}.commands", json.dumps(value), activity.job,
                    headers=headers, on_delivery=delivered)
                return
            except BufferError:  # the queue is full
                self.producer.poll(0.1)


def wordcount(activity):
    """Counts words: of a text, or, with an activity of its own for each, of several."""
    texts = activity.input.get("texts")
    if texts is not None:
        return complete({"texts": len(texts)}, spawn=[
            {"id": f"{activity.id}-{n}", "type": activity.type, "with": {"text": text}}
            for n, text in enumerate(texts, 1)
        ])
    if activity.attempt <= activity.input.get("busyFor", 0):  # stands in for a passing fault
        return retry("the dictionary is in use")
    if activity.cancelled.wait(activity.input.get("seconds", 0)):  # stands in for long work
        return fatal("nobody wants to know any more")
    text = activity.input["text"]
    if not text.strip():
        return fatal("there are no words in the text")
    return complete({"words": len(text.split())})


def main():
    args = argparse.ArgumentParser(description="Counts words for Waybill.")
    args.add_argument("--brokers", default=os.environ.get("WAYBILL_BROKERS", "127.0.0.1:9092"))
    args.add_argument("--prefix", default=os.environ.get("WAYBILL_PREFIX", "waybill"))
    args.add_argument("--type", default="wordcount.example.com")
    args.add_argument("--name", default=socket.gethostname(), help="shown in the history of jobs")
    args.add_argument("--concurrency", type=int, default=8)
    args.add_argument("--partitioner", default="murmur2_random")
    args.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="setting of librdkafka")
    args = args.parse_args()
    settings = dict(s.split("=", 1) for s in args.set)
    agent = Agent(args.type, wordcount, args.brokers, args.name, args.concurrency, args.prefix, args.partitioner, settings)
    signal.signal(signal.SIGTERM, agent.stop)
    signal.signal(signal.SIGINT, agent.stop)
    if left := agent.run():
        print(f"{args.name}: {left} activities go on elsewhere when their leases are over", file=sys.stderr, flush=True)
        os._exit(1)  # for their threads would be waited for


if __name__ == "__main__":
    main()
