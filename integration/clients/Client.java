// A plain Java client, as anybody would write one. It knows nothing of Waybill.
//
// usage: Client BROKERS write                     a JSON object per line of the input is a record:
//                                                 topic, partition (or none), key, headers [name, value, …], payload
//        Client BROKERS read ISOLATION TOPIC      every record from the beginning on, a JSON object per line

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Properties;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

public final class Client {
    private static final ObjectMapper JSON = new ObjectMapper();

    public static void main(String[] args) throws Exception {
        Properties props = new Properties();
        props.put("bootstrap.servers", args[0]);
        if (args[1].equals("write")) {
            write(props);
        } else {
            read(props, args[2], args[3]);
        }
    }

    private static void write(Properties props) throws Exception {
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        try (KafkaProducer<String, String> producer =
                new KafkaProducer<>(props, new StringSerializer(), new StringSerializer())) {
            for (String line = in.readLine(); line != null; line = in.readLine()) {
                JsonNode r = JSON.readTree(line);
                Integer partition = r.hasNonNull("partition") ? r.get("partition").asInt() : null;
                ProducerRecord<String, String> record = new ProducerRecord<>(
                    r.get("topic").asText(), partition, r.get("key").asText(), r.get("payload").asText());
                JsonNode headers = r.get("headers");
                for (int i = 0; i + 1 < headers.size(); i += 2) {
                    record.headers().add(headers.get(i).asText(), headers.get(i + 1).asText().getBytes(StandardCharsets.UTF_8));
                }
                producer.send(record).get();
            }
        }
    }

    private static void read(Properties props, String isolation, String topic) throws Exception {
        props.put("isolation.level", isolation);
        PrintStream out = new PrintStream(System.out, true, StandardCharsets.UTF_8);
        try (KafkaConsumer<String, String> consumer =
                new KafkaConsumer<>(props, new StringDeserializer(), new StringDeserializer())) {
            List<TopicPartition> partitions = new ArrayList<>();
            consumer.partitionsFor(topic).forEach(p -> partitions.add(new TopicPartition(topic, p.partition())));
            consumer.assign(partitions);
            consumer.seekToBeginning(partitions);
            while (true) {
                consumer.poll(Duration.ofSeconds(1)).forEach(r -> {
                    ObjectNode o = JSON.createObjectNode();
                    o.put("partition", r.partition()).put("offset", r.offset()).put("key", r.key()).put("payload", r.value());
                    var headers = o.putArray("headers");
                    r.headers().forEach(h -> headers.add(h.key()).add(new String(h.value(), StandardCharsets.UTF_8)));
                    out.println(o);
                });
            }
        }
    }
}
